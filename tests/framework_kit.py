"""One request through a recorded application, without a server: what a framework's tests ask and compare."""

from __future__ import annotations

import asyncio
import io
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from fake import FakeRecorder

from server_tracing.capture import asgi, wsgi
from server_tracing.export.routes import LOOK_EVERY_NS, Routes
from server_tracing.record import Fault, Outcome


def load(module: str, name: str = "app") -> Any:
    """An application of tests/apps; what its framework says about Python's future is not our business."""
    pytest.importorskip(module.partition("_")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(import_module(module), name)


class Seen(NamedTuple):
    """What came back, and what was recorded."""

    status: int
    route: str | None
    outcome: Outcome
    fault: Fault | None


class Shop:
    """A recorded application, and the exporter's view of its routes."""

    def __init__(self, app: Any, kind: str, derive: bool = True) -> None:
        self.recorder = FakeRecorder()
        self.kind = kind
        self.app = (wsgi if kind == "wsgi" else asgi).wrap(app, self.recorder)
        self.now = 0
        self.routes = Routes(lambda: self.recorder.applications, derive, clock=lambda: self.now)

    def ask(self, path: str, method: str = "GET", host: str = "shop.test") -> Seen:
        """One request, to its end; some time passes before."""
        self.now += LOOK_EVERY_NS
        if self.kind == "wsgi":
            self._call(path, method, host)
        else:
            asyncio.run(self._await("http", path, method, host))
        return self._seen(path, method, host, False)

    def talk(self, path: str) -> Seen:
        """One WebSocket, which the application closes."""
        asyncio.run(self._await("websocket", path, "GET", "shop.test"))
        return self._seen(path, "GET", "shop.test", True)

    def _seen(self, path: str, method: str, host: str, websocket: bool) -> Seen:
        ended = self.recorder.ended[-1]
        left = ended.details.get("route", "")
        route = self.routes.route(left, method, path, host, websocket, ended.status)
        return Seen(ended.status, route, ended.outcome, ended.details.get("fault"))

    def _call(self, path: str, method: str, host: str) -> None:
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path).encode().decode("latin-1"),
            "RAW_URI": path,
            "QUERY_STRING": "",
            "SERVER_NAME": host,
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": host,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        body = self.app(environ, lambda *told: lambda data: None)
        try:
            for _ in body:
                pass
        finally:
            if hasattr(body, "close"):
                body.close()

    async def _await(self, kind: str, path: str, method: str, host: str) -> None:
        scope = {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http" if kind == "http" else "ws",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", host.encode())],
            "client": ("127.0.0.1", 4711),
            "server": (host, 80),
        }
        if kind == "websocket":
            del scope["method"]
            scope |= {"subprotocols": []}
        waiting = [{"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request"}]

        async def receive() -> Any:
            if waiting:
                return waiting.pop()
            await asyncio.Event().wait()  # the client stays

        async def send(message: Any) -> None:
            pass

        with suppress(ValueError):  # what the applications here raise: servers answer it
            await self.app(scope, receive, send)
