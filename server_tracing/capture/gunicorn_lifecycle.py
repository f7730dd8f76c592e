"""A gunicorn server's life: what to call when a worker can serve, is aborted or exits, and in the master.

The hooks are chained on the configuration as gunicorn has made it of files, command line and application,
so that whoever set one keeps it: it runs as before, and what it raises reaches gunicorn as before.
"""

from __future__ import annotations

import functools
import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

Step = Callable[[Any], object]  # takes a worker

MARK = "server_tracing"  # on a method of gunicorn's: what it was


def follow_workers(cfg: Any, begin: Step, abort: Step, end: Step) -> None:
    """Call these in every worker that is forked with this configuration; none of them may raise."""
    for name, chained in (
        ("post_worker_init", after(cfg.post_worker_init, begin)),
        ("worker_abort", before(cfg.worker_abort, abort)),
        ("worker_exit", at_exit(cfg.worker_exit, end)),
    ):
        cfg.set(name, chained)


def after(users: Step, ours: Step) -> Step:
    """The configured hook, then ours, so that it finds what the other has set up."""

    def post_worker_init(worker: Any) -> None:
        users(worker)
        ours(worker)

    return post_worker_init


def before(users: Step, ours: Step) -> Step:
    """Ours, then the configured hook: there may be no time for both."""

    def worker_abort(worker: Any) -> None:
        ours(worker)
        users(worker)

    return worker_abort


def at_exit(users: Callable[[Any, Any], object], ours: Step) -> Callable[[Any, Any], None]:
    """The configured hook, and then ours whatever happens; gunicorn sometimes calls it in the master."""

    def worker_exit(server: Any, worker: Any) -> None:
        try:
            users(server, worker)
        finally:
            if worker.pid == os.getpid():
                ours(worker)

    return worker_exit


def before_loading(ours: Callable[[], object]) -> None:
    """Call this before an application is imported, in whatever process does so: one that is preloaded is
    imported before `on_starting`. The last one said counts: a configuration may be read again. It may not
    raise."""
    from gunicorn.app.base import BaseApplication

    load = getattr(BaseApplication.wsgi, MARK, BaseApplication.wsgi)

    @functools.wraps(load)
    def wsgi(app: Any) -> Any:
        if app.callable is None:
            ours()
        return load(app)

    setattr(wsgi, MARK, load)
    BaseApplication.wsgi = wsgi


def chain_server_hook(namespace: dict[str, Any], name: str, ours: Step) -> None:
    """Put our hook behind the one of a configuration that gunicorn has not read yet."""
    users = resolved(namespace.get(name))

    def hook(server: Any) -> None:
        if users is not None:
            users(server)
        ours(server)

    namespace[name] = hook


def resolved(hook: Any) -> Any:
    """A configured hook as gunicorn understands it: it may be named by a string. One that gunicorn will
    refuse is refused here, in gunicorn's words."""
    if hook is None:
        return None
    from gunicorn.config import validate_callable

    return validate_callable(1)(hook)


def facts(worker: Any) -> dict[str, Any]:
    """What a worker says about itself, as `worker.start` wants to be told."""
    import gunicorn

    cfg = worker.cfg
    return {
        "server": f"gunicorn {gunicorn.__version__}",
        "worker_class": cfg.worker_class_str,
        "app": getattr(worker.app, "app_uri", None),
        "application": getattr(worker, "wsgi", None) or getattr(worker, "asgi", None),
        "timeout": cfg.timeout or None,
        "trusted_proxies": cfg.forwarded_allow_ips,
    }


def why_aborted(worker: Any) -> str:
    """Why a worker gets SIGABRT, in its handler: its master sends it to those that are late, by the reckoning
    of its `murder_workers`, and to no others. Where that cannot be seen any more the master tells of it."""
    try:
        late = silent_for(worker) > (worker.cfg.timeout or math.inf)
    except (OSError, ValueError):  # closed: the worker has ended, but for its threads
        late = False
    return "timeout" if late else f"signal {int(signal.SIGABRT)}"


def silent_for(worker: Any) -> float:
    """Seconds since a worker's last sign of life: the time of a file, set to the monotonic clock, but left to
    the wall clock by gunicorn up to 21."""
    seen: float = worker.tmp.last_update()
    now = time.monotonic()
    return now - seen if seen <= now else time.time() - seen


def refuse_to_start(server: Any, sentence: str) -> NoReturn:
    """Stop a master that is about to start, the way gunicorn stops for its own settings."""
    with suppress(Exception):
        if server.pidfile is not None:
            server.pidfile.unlink()
        if server.cfg.daemon:  # has no terminal any more
            server.log.error("%s", sentence)
    raise RuntimeError(sentence)
