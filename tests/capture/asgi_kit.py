"""A server of tests: scopes, a `receive` that hands out messages, a `send` that keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from fake import Ended, FakeRecorder

from server_tracing.capture.asgi import wrap
from server_tracing.capture.asgi_server import Server

HTTP: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "scheme": "http",
    "http_version": "1.1",
    "path": "/a b",
    "raw_path": b"/a%20b",
    "query_string": b"q=1",
    "headers": [(b"host", b"test"), (b"accept", b"*/*")],
    "client": ("192.0.2.1", 4711),
    "server": ("127.0.0.1", 80),
}
WEBSOCKET: dict[str, Any] = {**HTTP, "type": "websocket", "scheme": "ws", "subprotocols": []}
del WEBSOCKET["method"]
REQUEST = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}


class Wire:
    """What one application is told, and what it says."""

    def __init__(self, *messages: Any, full: bool = False, server: Server | None = None) -> None:
        self.recorder = FakeRecorder(full)
        self.server = server
        self.messages = list(messages or [REQUEST])
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return self.messages.pop(0)

    async def send(self, message: Any) -> Any:
        self.sent.append(message)
        return "what the server's send returns"

    def run(self, app: Any, scope: dict[str, Any] = HTTP) -> Any:
        """One call of the recorded application."""
        traced = wrap(app, self.recorder, self.server)  # type: ignore[arg-type]
        return asyncio.run(traced(dict(scope), self.receive, self.send))

    def ended(self) -> Ended:
        """The record."""
        return self.recorder.only()


def start(status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> dict[str, Any]:
    """The head of a response."""
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes = b"", **more: Any) -> dict[str, Any]:
    """A part of one, the last if nothing is said."""
    return {"type": "http.response.body", "body": data, **more}


def saying(*messages: Any) -> Any:
    """An application that says just this."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app
