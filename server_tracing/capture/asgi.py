"""The ASGI recorder: `wrap(app, recorder)` is the application again, with every call of it one record.

What passes between server and application passes untouched: the same events one for one, the same return
value, the same exception, nothing consumed, no context variable set. Scopes of an unknown type, and
requests the journal has no room for, are handed straight through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from server_tracing.capture import asgi_http, asgi_lifespan, asgi_websocket
from server_tracing.capture.asgi_server import App, Server
from server_tracing.capture.swallowed import served
from server_tracing.frameworks import left_in

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder


def wrap(app: App, recorder: Recorder, server: Server | None = None) -> App:
    """The same application, recorded; `server` says what ASGI does not. HTTP is asked for first: a
    coroutine in front of it would cost every request 0.2 us."""
    server = server or Server()
    served(app, recorder, server.root_path)
    server.left = left_in("scope")
    rare = asgi_lifespan.recorded(app, recorder, otherwise=app)
    rare = asgi_websocket.recorded(app, recorder, server, otherwise=rare)
    traced = asgi_http.recorded(app, recorder, server, otherwise=rare)
    traced.__wrapped__ = app  # type: ignore[attr-defined]
    return traced
