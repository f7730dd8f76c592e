"""uvicorn, seen from inside: every server that a process starts serves a recorded application.

Which class serves a connection, and in what the application is wrapped (proxy headers, WSGI, ASGI 2), is
settled when uvicorn builds its lifespan, the first thing a server does once its configuration is loaded and
before it accepts: there `config.loaded_app` is wrapped, outside of everything, so that the client is the
peer. A server is done at the end of `Server.shutdown`: after it uvicorn raises the signal that ended it
once more, and nothing else would run.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from server_tracing.capture.asgi import wrap
from server_tracing.capture.uvicorn_handshakes import watch_handshakes
from server_tracing.capture.uvicorn_patch import Function, surround, then
from server_tracing.capture.uvicorn_refusals import watch_refusals
from server_tracing.capture.uvicorn_server import UVICORN, watch_buffers

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder

Start = Callable[[Any], "Recorder | None"]  # takes the uvicorn.Config of the first server
Stop = Callable[[], None]

log = logging.getLogger("server_tracing")

CANCELLED_STEPS = 5  # of the event loop, for requests that a shutdown has cancelled to end


class Following:
    """What happens to the servers of this process."""

    def __init__(self, start: Start, stop: Stop) -> None:
        self.start = start
        self.stop = stop
        self.recorder: Recorder | None = None
        self.serving: weakref.WeakSet[Any] = weakref.WeakSet()  # configurations

    def begin(self, config: Any) -> None:
        """A server is about to start."""
        if self.recorder is None:
            self.recorder = self.start(config)
        if self.recorder is None:
            return
        self.serving.add(config)
        with suppress(RuntimeError):  # built before its loop runs, by a program of its own
            self.recorder.loops.add(asyncio.get_running_loop())
        app = config.loaded_app
        if app is vars(config).get("server_tracing", self):  # a configuration that is served once more
            app = app.__wrapped__
        UVICORN.root_path = getattr(config, "root_path", "")
        config.loaded_app = config.server_tracing = wrap(app, self.recorder, UVICORN)
        watch_buffers()
        watch_refusals(recorder_in_use)
        watch_handshakes(recorder_in_use)

    async def end(self, config: Any) -> None:
        """A server has shut down."""
        if self.recorder is None or config not in self.serving:
            return
        self.serving.discard(config)
        for _ in range(CANCELLED_STEPS):
            if not self.recorder.open:
                break
            await asyncio.sleep(0)
        if not self.serving:
            self.recorder = None
            self.stop()


_following: Following | None = None


def follow(start: Start, stop: Stop) -> None:
    """Record the servers this process starts from now on, begun by `start` and ended by `stop`."""
    global _following
    from uvicorn.lifespan.off import LifespanOff
    from uvicorn.lifespan.on import LifespanOn
    from uvicorn.server import Server

    if _following is None or not _following.serving:  # else another server of this process is at it already
        _following = Following(start, stop)
    surround(LifespanOn, "__init__", then(begin_server))
    surround(LifespanOff, "__init__", then(begin_server))
    surround(Server, "shutdown", until_end)


def recorder_in_use() -> Recorder | None:
    """The recorder of the servers running now."""
    return _following.recorder if _following is not None else None


def begin_server(lifespan: Any, config: Any) -> None:
    """A lifespan was built."""
    try:
        if _following is not None and config.loaded:
            _following.begin(config)
    except Exception:
        log.exception("requests are not recorded: this uvicorn is not as expected")


def until_end(shutdown: Function) -> Function:
    """`Server.shutdown`, and what is to be done after it."""

    async def method(server: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return await shutdown(server, *arguments, **named)
        finally:
            try:
                if _following is not None:
                    await _following.end(server.config)
            except Exception:
                log.exception("recording could not be ended in order")

    return method
