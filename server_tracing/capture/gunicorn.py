"""`attach(worker, recorder)`: record what a gunicorn worker serves, in whatever way that worker allows.

Which way that is shows in what the worker can do, not in its class's name:
- an ASGI application of gunicorn's own (`worker.asgi`): gunicorn_asgi.py
- uvicorn's worker (`worker.config` is one of uvicorn's): capture/uvicorn.py
- a `handle_request` that calls the request hooks (sync, gthread, gevent): gunicorn_hooks.py
- any other of gunicorn's that runs a WSGI application (tornado, gevent_pywsgi): the WSGI wrapper, which
  sees what reaches the application and nothing else
- everything else is left alone, and a mark in the journal says so
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from server_tracing.capture.gunicorn_hooks import attach_hooks, calls_hooks
from server_tracing.capture.gunicorn_outcome import names_used

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder

TORNADO_APPLICATIONS = (("tornado.web", "Application"), ("tornado.wsgi", "WSGIContainer"))


def attach(
    worker: Any, recorder: Recorder, cpu: bool = False, stop: Callable[[], None] = lambda: None
) -> None:
    """Record this worker's requests; called in its process, when its application is loaded.

    `stop` is for the worker whose end gunicorn does not see: uvicorn's, once it has shut down, dies of the
    SIGTERM it got.
    """
    if hasattr(worker, "asgi"):
        from server_tracing.capture.gunicorn_asgi import attach_asgi

        attach_asgi(worker, recorder)
    elif hasattr(getattr(worker, "config", None), "lifespan"):
        from server_tracing.capture.uvicorn import follow

        follow(lambda config: recorder, stop)
    elif calls_hooks(worker):
        attach_hooks(worker, recorder, cpu)
    elif runs_wsgi(worker):
        from server_tracing.capture.wsgi import wrap

        worker.wsgi = wrap(worker.wsgi, recorder, all_or_nothing="WSGIContainer" in names_used(worker, "run"))
    else:
        recorder.mark("unseen", f"requests of {type(worker).__qualname__} cannot be recorded")


def runs_wsgi(worker: Any) -> bool:
    """Whether `worker.wsgi` is a WSGI application: gunicorn's own workers run nothing else, but tornado's
    also serves tornado's applications, which only look callable."""
    own = type(worker).__module__.startswith("gunicorn.")
    return own and callable(worker.wsgi) and not isinstance(worker.wsgi, tornado_applications())


def tornado_applications() -> tuple[type, ...]:
    """Tornado's application classes, where tornado is in use."""
    found = [getattr(sys.modules.get(module), name, None) for module, name in TORNADO_APPLICATIONS]
    return tuple(kind for kind in found if isinstance(kind, type))
