"""Requests that uvicorn refuses before the application sees them.

- Malformed ones: `send_400_response` of every implementation. What is known of the request is what the
  parser had found, or else the bytes it was given. In the middle of a body an application is already at the
  request, and its record says what happened.
- Those that make a parser fail: nobody answers them, asyncio closes the connection.
- Too many: `service_unavailable`, which `--limit-concurrency` puts in the application's place.
- WebSocket handshakes that the protocol's library turns down (uvicorn_handshakes.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from server_tracing.capture.asgi_passing import begin_of
from server_tracing.capture.request_line import split_line
from server_tracing.capture.uvicorn_patch import ZTTP, Around, Function, loaded, loaded_protocols, surround
from server_tracing.capture.uvicorn_server import UVICORN
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder, Refusal

RecorderInUse = Callable[[], "Recorder | None"]

NO_STATUS, BAD_REQUEST, UNAVAILABLE = 0, 400, 503
UNAVAILABLE_BYTES = len(b"Service Unavailable")
TOO_MANY, SHUTTING_DOWN = "limit_concurrency", "shutting down"
MAX_REASON = 200
MAX_LINES = 100  # of a malformed head
CALLERS = 5  # between a transport and `send_400_response` there are at most four


class Known(NamedTuple):
    """What a refused request had said of itself."""

    method: str = ""
    target: str = ""
    version: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def watch_refusals(recorder_in_use: RecorderInUse) -> None:
    """Record what any loaded implementation refuses, while there is a recorder."""
    for module, protocol in loaded_protocols():
        surround(protocol, "send_400_response", noting_malformed(recorder_in_use))
        surround(module, "service_unavailable", noting_unavailable(recorder_in_use))
    surround(loaded(ZTTP), "data_received", noting_failure(recorder_in_use))


# ---------------------------------------------------------------- malformed


def noting_malformed(recorder_in_use: RecorderInUse) -> Around:
    """`send_400_response`, recorded."""

    def around(original: Function) -> Function:
        def send_400_response(protocol: Any, msg: str) -> Any:
            reason = str(sys.exc_info()[1] or msg)[:MAX_REASON]
            recorder = None if break_off(protocol, reason) else recorder_in_use()
            if recorder is None:
                return original(protocol, msg)
            begun = begin_refusal(recorder, protocol, known(protocol, sys._getframe(1)))
            try:
                return original(protocol, msg)
            finally:
                recorder.end_refusal(begun, BAD_REQUEST, reason, len(msg))

        return send_400_response

    return around


def noting_failure(recorder_in_use: RecorderInUse) -> Around:
    """`data_received`, recorded where it raises: zttp's does for a target that is not ASCII."""

    def around(original: Function) -> Function:
        def data_received(protocol: Any, data: bytes) -> Any:
            try:
                return original(protocol, data)
            except Exception as error:
                recorder = recorder_in_use()
                if recorder is not None:
                    reject(recorder, protocol, read(bytes(data)), NO_STATUS, type(error).__name__)
                raise

        return data_received

    return around


def break_off(protocol: Any, reason: str) -> bool:
    """Whether it was the body of a request that an application has; that request is told why."""
    cycle = getattr(protocol, "cycle", None)
    if cycle is None or not cycle.more_body or cycle.scope is not protocol.scope:
        return False
    UVICORN.break_off(cycle, BAD_REQUEST, reason)
    return True


def known(protocol: Any, caller: FrameType | None) -> Known:
    """What the parser had found, or else what stands in the bytes it was given."""
    try:
        return parsed(protocol) or read(received(caller))
    except Exception:  # noqa: BLE001 - a parser in disorder
        return Known()


def parsed(protocol: Any) -> Known | None:
    """httptools tells piece by piece; the others keep what they have not finished to themselves."""
    url = getattr(protocol, "url", b"")
    if not url or (protocol.cycle is not None and protocol.cycle.scope is protocol.scope):
        return None
    method = protocol.parser.get_method().decode("latin-1")
    version = protocol.parser.get_http_version() if protocol.headers else ""
    return Known(method, url.decode("latin-1"), version, text(protocol.headers))


def received(frame: FrameType | None) -> bytes:
    """The bytes being parsed: `data` of the `data_received` we are called from. Found by looking up the
    stack, so that no other read costs anything."""
    for _ in range(CALLERS):
        if frame is None:
            break
        if frame.f_code.co_name == "data_received":
            return bytes(frame.f_locals["data"])
        frame = frame.f_back
    return b""


def read(data: bytes) -> Known:
    """Request line and headers, as far as they look like it."""
    lines = data.split(b"\r\n", MAX_LINES)[:MAX_LINES]
    words = lines[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        return Known() if b"\r\n" in data else Known(*split_line(data))  # longer than one read, it may be
    pairs = [line.partition(b":") for line in lines[1:] if b":" in line]
    return Known(words[0], words[1], words[2][5:], text([(name, value.strip()) for name, _, value in pairs]))


def text(headers: list[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Headers as the recorder takes those of a refused request."""
    return tuple((name.decode("latin-1").upper(), value.decode("latin-1")) for name, value in headers)


def reject(recorder: Recorder, protocol: Any, known: Known, status: int, reason: str) -> None:
    """Write down what has been refused."""
    recorder.end_refusal(begin_refusal(recorder, protocol, known), status, reason)


def begin_refusal(recorder: Recorder, protocol: Any, known: Known) -> Refusal:
    """Write down what is about to be refused."""
    host, port = protocol.client or ("", 0)
    method, target, version, headers = known
    return recorder.begin_refusal(method, target, version, protocol.scheme or "", host, port, headers)


# ---------------------------------------------------------------- too many


def noting_unavailable(recorder_in_use: RecorderInUse) -> Around:
    """`service_unavailable`, recorded."""

    def around(original: Function) -> Function:
        async def service_unavailable(scope: Any, receive: Any, send: Any) -> None:
            recorder = recorder_in_use()
            slot = begin_of(recorder, scope) if recorder is not None else None
            why = why_unavailable(send)
            try:
                await original(scope, receive, send)
            finally:
                if recorder is not None:
                    recorder.end(slot, Outcome.REJECTED, UNAVAILABLE, UNAVAILABLE_BYTES, 0, reason=why)

        return service_unavailable

    return around


def why_unavailable(send: Any) -> str:
    """HTTP/2 connections also refuse new streams once they are to close."""
    on_response = getattr(getattr(send, "__self__", None), "on_response", None)
    closing = getattr(getattr(on_response, "__self__", None), "shutdown_requested", False)
    return SHUTTING_DOWN if closing else TOO_MANY
