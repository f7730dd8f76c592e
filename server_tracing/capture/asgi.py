"""The ASGI recorder: `wrap(app, recorder)` is the application again, with every call of it one record.

What passes between server and application passes untouched: the same events one for one, the same return
value, the same exception, nothing consumed, no context variable set. Scopes of an unknown type, and
requests the journal has no room for, are handed straight through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from server_tracing.capture.asgi_http import Exchange
from server_tracing.capture.asgi_lifespan import lifespan
from server_tracing.capture.asgi_server import App, Receive, Scope, Send, Server
from server_tracing.capture.asgi_websocket import Conversation
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder, Slot

SHAPES: dict[str, type[Exchange] | type[Conversation]] = {"http": Exchange, "websocket": Conversation}
NOBODY = ("", 0)  # scope["client"] is None on a unix socket


def wrap(app: App, recorder: Recorder, server: Server | None = None) -> App:
    """The same application, recorded; `server` says what ASGI does not."""
    server = server or Server()

    async def traced(scope: Scope, receive: Receive, send: Send) -> Any:
        kind = scope.get("type")
        if kind == "lifespan":
            return await lifespan(app, recorder, scope, receive, send)
        shape = SHAPES.get(kind)
        slot = begin(recorder, scope) if shape else None
        if shape is None or slot is None:
            return await app(scope, receive, send)
        passing = shape(recorder, server, slot, scope, receive, send)
        try:
            result = await app(scope, passing.receive, passing.send)
        except BaseException as error:
            conclude(recorder, slot, passing.fail, error)
            raise
        conclude(recorder, slot, passing.finish)
        return result

    traced.__wrapped__ = app  # type: ignore[attr-defined]
    return traced


def begin(recorder: Recorder, scope: Scope) -> Slot | None:
    """The record of this scope, begun; None where there is no room or nothing to make sense of."""
    try:
        host, port = scope.get("client") or NOBODY
        headers = scope["headers"]
        return recorder.begin_bytes(
            scope.get("method", "GET"),
            target(scope),
            scope.get("http_version", "1.1"),
            scope.get("scheme") or ("ws" if scope["type"] == "websocket" else "http"),
            host,
            port or 0,
            headers if isinstance(headers, (list, tuple)) else (),
        )
    except Exception:  # noqa: BLE001 - an odd scope costs a record, not a response
        return None


def conclude(recorder: Recorder, slot: Slot | None, step: Callable[..., None], *error: BaseException) -> None:
    """Take the last step of a request; whatever goes wrong in it, the request has ended."""
    try:
        step(*error)
    except Exception:  # noqa: BLE001 - a server or a scope that is not what it was when this was written
        recorder.end(slot, Outcome.ERROR if error else Outcome.OK)


def target(scope: Scope) -> bytes:
    """Path and query as the client sent them, as far as the server tells."""
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string")
    return path + b"?" + query if query else path
