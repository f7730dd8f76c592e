"""What a response says of its trace, where `response_header` is on: headers put beside the application's own.

Which they are is told by `Recorder.announce`; where it is None none of this is installed. Headers of the same
names that the application set (the X-Ray SDK's middleware does) give way: ours name what is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder, Slot

TextHeaders = list[tuple[str, str]]
BytesHeaders = list[tuple[bytes, bytes]]
Announce = Callable[["Slot"], TextHeaders]

BEGINNINGS = frozenset(("http.response.start", "websocket.accept", "websocket.http.response.start"))


def said(recorder: Recorder, slot: Slot) -> TextHeaders:
    """What is to be said of a request."""
    return [] if recorder.announce is None else recorder.announce(slot)


def merged(headers: Iterable[Any], ours: list[Any]) -> list[Any]:
    """The application's headers, text or bytes, and ours."""
    names = {name.lower() for name, _ in ours}
    return [*(header for header in headers if header[0].lower() not in names), *ours]


def in_bytes(headers: TextHeaders) -> BytesHeaders:
    """As ASGI has them."""
    return [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers]


def announced(message: Any, recorder: Recorder, slot: Slot) -> Any:
    """An ASGI message with our headers, if it begins a response; the application's own is left as it is."""
    try:
        if message["type"] not in BEGINNINGS:
            return message
        given = message.get("headers")
        if given is not None and not isinstance(given, (list, tuple)):
            message = {**message, "headers": list(given)}  # an iterator can be read once
        return {**message, "headers": merged(message.get("headers") or (), in_bytes(said(recorder, slot)))}
    except Exception:  # noqa: BLE001 - a strange message is for the server to judge
        return message


def announced_wsgi(arguments: tuple[Any, ...], recorder: Recorder, slot: Slot) -> tuple[Any, ...]:
    """The arguments of `start_response`, with our headers among them."""
    try:
        status, headers, *rest = arguments
        if type(headers) is not list:
            return arguments
        return status, merged(headers, said(recorder, slot)), *rest
    except Exception:  # noqa: BLE001 - strange arguments are for the server to judge
        return arguments


def on_the_wire(headers: TextHeaders) -> bytes:
    """As they stand in the head of a response."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("ascii")
