"""`server_tracing.asgi(app)` and `server_tracing.wsgi(app)`: any server, one line in the application.

They see what reaches the application. Requests the server refuses and workers that die before they have
begun one are seen by the doors only (gunicorn.py, uvicorn.py). Recording starts with the first request of
a process, so that a server may load the application before it forks. It ends with the last ASGI application
that is shut down, and starts anew where one is served once more: by a test's client, or by a program that
starts servers of its own.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import Any

from server_tracing import config, worker
from server_tracing.instrument import instrument

_started: set[int] = set()  # processes that record because of a wrapper, this one or a parent of it
_living: set[object] = set()  # lifespans of wrapped applications that this process serves now
_ended = 0  # how often recording has ended in this process
_starting = threading.Lock()


class _PerProcess:
    """The application, wrapped anew in every process that serves it."""

    def __init__(
        self, app: Any, wrap: Callable[[Any, Any], Any], server: str, settings: dict[str, object]
    ) -> None:
        self._app = app
        self._wrap = wrap
        self._server = server
        # A wrong setting stops the start, here.
        self._loaded = config.load(arguments=settings, completed_later=True)
        instrument(self._loaded.config)
        self._pid = self._ended = 0
        self._wrapped: Any = app

    def of_this_process(self) -> Any:
        if self._is_begun():
            return self._wrapped
        with _starting:
            if not self._is_begun():
                ended = _ended
                self._wrapped = self._start()
                self._pid, self._ended = os.getpid(), ended
        return self._wrapped

    def _is_begun(self) -> bool:
        return self._pid == os.getpid() and self._ended == _ended

    def _start(self) -> Any:
        if worker.current() is not None and os.getpid() not in _started:
            return self._app  # a door records this process: once is enough
        started = worker.start(
            self._loaded,
            server=self._server,
            app=getattr(self._app, "__module__", None),
            application=self._app,
        )
        if started is None:
            return self._app
        _started.add(os.getpid())
        atexit.register(started.stop)
        return self._wrap(self._app, started.recorder)


class _Asgi(_PerProcess):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] != "lifespan":
            return await self.of_this_process()(scope, receive, send)
        lifespan = object()
        _living.add(lifespan)
        try:
            return await self.of_this_process()(scope, receive, _ending(send, lifespan))
        finally:
            _living.discard(lifespan)


def _ending(send: Any, lifespan: object) -> Any:
    """`send`, and what is left is delivered when the last application has shut down: uvicorn then ends itself
    by the signal it got, and no `atexit` runs."""

    async def send_and_stop(message: Any) -> None:
        if message["type"].startswith("lifespan.shutdown."):
            _living.discard(lifespan)
            if not _living:
                _stop()
        await send(message)

    return send_and_stop


def _stop() -> None:
    """Recording ends; what is served from now on begins it anew."""
    global _ended
    started = worker.current()
    if started is not None and os.getpid() in _started:
        _ended += 1
        started.stop()
        atexit.unregister(started.stop)


class _Wsgi(_PerProcess):
    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.of_this_process()(environ, start_response)


def asgi(app: Any, **settings: object) -> Any:
    """`app` with every request that reaches it recorded; `settings` are those of the settings file."""
    from server_tracing.capture.asgi import wrap

    return _Asgi(app, wrap, "asgi", settings)


def wsgi(app: Any, **settings: object) -> Any:
    """`app` with every request that reaches it recorded; `settings` are those of the settings file."""
    from server_tracing.capture.wsgi import wrap

    return _Wsgi(app, wrap, "wsgi", settings)


def _in_child() -> None:
    global _starting
    _living.clear()
    _starting = threading.Lock()  # the inherited one may be held by a thread that does not exist here


os.register_at_fork(after_in_child=_in_child)
