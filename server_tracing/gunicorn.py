"""The gunicorn door: `gunicorn -c python:server_tracing.gunicorn shop:app`.

Replaces nobody's configuration: `./gunicorn.conf.py`, or what SERVER_TRACING_GUNICORN_CONF names, is loaded
by gunicorn's own loader, and handed on with two hooks more. From one's own configuration file the same is

    from server_tracing.gunicorn import install
    install(globals())

gunicorn imports a `python:` module once and then asks for its `vars()` at every start and HUP. This module's
`vars()` are that configuration, loaded anew each time: edits take effect, and importing it does nothing.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any, NamedTuple

from server_tracing import worker
from server_tracing.capture import gunicorn as capture
from server_tracing.capture import gunicorn_lifecycle as lifecycle
from server_tracing.capture.gunicorn_reasons import Reasons, dead_children, watch_deaths
from server_tracing.config import ConfigError, Loaded, load, resolve_state_dir
from server_tracing.units import switch

CONF = "SERVER_TRACING_GUNICORN_CONF"
ABORTED_SECONDS = 0.5  # after SIGABRT gunicorn kills within a second


class Master(NamedTuple):
    """What workers inherit: the last good settings, and why their siblings died."""

    loaded: Loaded
    reasons: Reasons
    uid: int


_master: Master | None = None


def install(namespace: dict[str, Any], **settings: object) -> None:
    """Have the servers that a configuration file describes recorded; `settings` as in the settings file."""
    if switched_off() or "__server_tracing__" in namespace:
        return
    namespace["__server_tracing__"] = True
    for name in ("on_starting", "on_reload"):
        lifecycle.chain_server_hook(namespace, name, lambda server: prepare(server, settings))


def configuration() -> dict[str, Any]:
    """The configuration gunicorn would have had without us, with us."""
    namespace = dict(users_configuration())
    install(namespace)
    return namespace


def users_configuration() -> dict[str, Any]:
    """What gunicorn's loader makes of the user's file; what is wrong with it, gunicorn says."""
    from gunicorn.app.base import Application
    from gunicorn.config import get_default_config_file

    location = os.environ.get(CONF) or get_default_config_file()
    if not location:
        return {}
    kind, _, name = location.partition(":")
    if kind == "python":
        return dict(Application.get_config_from_module_name(None, name)) if name != __name__ else {}
    return dict(Application.get_config_from_filename(None, name if kind == "file" else location))


def switched_off() -> bool:
    """Whether the environment forbids all of this."""
    try:
        return not switch(os.environ.get("SERVER_TRACING_ENABLED") or True)
    except ValueError:
        return False  # a wrong setting is told when the settings are loaded


def prepare(server: Any, settings: dict[str, object]) -> None:
    """In the master, before any worker is forked with a new configuration."""
    global _master
    try:
        loaded = load(arguments=settings)
    except ConfigError as error:
        if _master is None:
            lifecycle.refuse_to_start(server, str(error))
        server.log.warning("%s The settings in use stay.", error)
        loaded = _master.loaded
    if _master is None:
        reasons = Reasons()
        watch_deaths(server, reasons, dead_children)
    else:
        reasons = _master.reasons
    _master = Master(loaded, reasons, os.geteuid())
    if loaded.config.enabled:
        lifecycle.follow_workers(server.cfg, begin, abort, end)


def begin(serving: Any) -> None:
    """In a worker whose application is loaded: record from now on."""
    try:
        assert _master is not None
        loaded, reasons, uid = _master
        if os.geteuid() != uid:
            loaded = of_this_user(loaded)
        traced = worker.start(loaded, reasons=reasons.reason_for, **lifecycle.facts(serving))
        if traced is not None:
            serving.server_tracing = traced
            capture.attach(serving, traced.recorder, loaded.config.capture.cpu, lambda: end(serving))
    except Exception:
        serving.log.exception("tracing is off in this worker: it could not be started")


def of_this_user(loaded: Loaded) -> Loaded:
    """The settings of a root master in a worker with less rights: its state is its own user's."""
    if loaded.sources.get("state_dir", "default") != "default":
        return loaded
    import msgspec

    state_dir = resolve_state_dir(os.environ)
    return loaded._replace(config=msgspec.structs.replace(loaded.config, state_dir=state_dir))


def abort(serving: Any) -> None:
    """In a worker that gunicorn is about to kill: leave a mark, and nothing else."""
    traced = vars(serving).get("server_tracing")
    if traced is not None:
        serving.server_tracing_seconds = ABORTED_SECONDS
        traced.abort("timeout")


def end(serving: Any) -> None:
    """In a worker that exits: deliver what can be delivered."""
    traced = vars(serving).get("server_tracing")
    if traced is not None:
        traced.stop(vars(serving).get("server_tracing_seconds", worker.STOP_SECONDS))


class Door(ModuleType):
    """This module as gunicorn sees it."""

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The user's configuration with us, as of now."""
        try:
            return configuration()
        except AttributeError as error:  # to `vars` that would mean that there is no `__dict__`
            raise RuntimeError(str(error)) from error


sys.modules[__name__].__class__ = Door
