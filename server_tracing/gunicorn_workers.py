"""What the gunicorn door sets in motion: settings checked in the master, workers recorded from boot to exit.

Nothing here raises into gunicorn but for a wrong setting at the first start, which stops it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from server_tracing import worker
from server_tracing.capture import gunicorn as capture
from server_tracing.capture import gunicorn_lifecycle as lifecycle
from server_tracing.capture.gunicorn_reasons import Reasons, watch_deaths
from server_tracing.config import ConfigError, Loaded, load, resolve_state_dir
from server_tracing.instrument import instrument as before_import
from server_tracing.journal.folders import SHM, Folders
from server_tracing.statedir import StateDirError

ABORTED_SECONDS = 0.5  # to deliver in; a second after SIGABRT gunicorn kills


class Master(NamedTuple):
    """What workers inherit: the last good settings, and why their siblings died."""

    loaded: Loaded
    reasons: Reasons
    uid: int  # whose the state directory is that the settings name


_master: Master | None = None  # changed by `renew` alone, before workers are forked


def prepare(server: Any, settings: dict[str, object]) -> None:
    """In the master, before any worker is forked with a new configuration."""
    try:
        follow(server, renew(server, settings))
    except ConfigError as error:
        lifecycle.refuse_to_start(server, str(error))
    except Exception:
        server.log.exception("tracing is off in this server: it could not be prepared")


def instrument(settings: dict[str, object]) -> None:
    """Before the application is imported; what is wrong with the settings is said by `prepare`."""
    with suppress(ConfigError, OSError):
        loaded = _master.loaded if _master is not None else load(arguments=settings, completed_later=True)
        before_import(loaded.config)


def renew(server: Any, settings: dict[str, object]) -> Master:
    """Read the settings; a reload with wrong ones keeps those in use, a first start has none to keep."""
    global _master
    try:
        loaded = load(arguments=settings, completed_later=True)
    except ConfigError as error:
        if _master is None:
            raise
        server.log.warning("%s The settings in use stay.", error)
        return _master
    reasons = _master.reasons if _master else Reasons()
    if _master is None:
        watch_deaths(server, reasons)
    _master = Master(loaded, reasons, owner_of_state(server, loaded))
    return _master


def owner_of_state(server: Any, loaded: Loaded) -> int:
    """Whose the state directory of these settings is. As root it is made here for the workers' user, who
    could not make it; where that cannot be, and none was asked for, they look for one of theirs."""
    mine, theirs = os.geteuid(), server.cfg.uid
    if mine != 0 or theirs == mine or not loaded.config.enabled:
        return mine
    folders = Folders(loaded.config.state_dir, loaded.config.journal.dir, SHM, theirs)
    try:
        folders.hand_over(server.cfg.gid)
    except StateDirError as error:
        if not is_named(loaded):
            return mine
        server.log.warning("%s", error)
    return int(theirs)


def is_named(loaded: Loaded) -> bool:
    """Whether somebody said where the state goes."""
    return loaded.sources.get("state_dir", "default") != "default"


def follow(server: Any, master: Master) -> None:
    """Have workers forked from now on recorded."""
    if master.loaded.config.enabled:
        import_for_workers()
        lifecycle.follow_workers(
            server.cfg, begin=lambda serving: begin(serving, master), abort=abort, end=end
        )


def import_for_workers() -> None:
    """Import once what each worker would import before it serves, again after every `max_requests`: 0.14 s of
    processor time. Besides, workers of another user may not be allowed to read an interpreter in /root.
    Modules only; threads, sockets and files are for those who serve."""
    import encodings.idna  # noqa: F401 - what every look-up of a host's address asks for

    import server_tracing.adoption
    import server_tracing.capture.finding
    import server_tracing.inside.opening

    with suppress(ImportError):  # an interpreter without ctypes
        import server_tracing.export.stuck.deadman  # noqa: F401


def begin(serving: Any, master: Master) -> None:
    """In a worker whose application is loaded: record from now on."""
    try:
        loaded = master.loaded if os.geteuid() == master.uid else of_this_user(master.loaded)
        traced = worker.start(loaded, reasons=master.reasons.reason_for, **lifecycle.facts(serving))
        if traced is not None:
            serving.server_tracing = traced
            capture.attach(serving, traced.recorder, loaded.config.capture.cpu, traced.stop)
    except Exception:
        serving.log.exception("tracing is off in this worker: it could not be started")


def of_this_user(loaded: Loaded) -> Loaded:
    """The settings of a root master in a worker with fewer rights: state goes where its own user's does,
    which is not where root's commands look for it."""
    if is_named(loaded):
        return loaded
    state_dir = resolve_state_dir(os.environ)
    note = f"State goes to {state_dir}, where --state-dir finds it, unless SERVER_TRACING_DIR names a place."
    config = msgspec.structs.replace(loaded.config, state_dir=state_dir)
    return loaded._replace(config=config, warnings=[*loaded.warnings, note])


def abort(serving: Any) -> None:
    """In a worker that got SIGABRT, and has a second if it is gunicorn's: leave a mark, and nothing else. The
    first one is why it ends."""
    traced = vars(serving).get("server_tracing")
    if traced is not None and "server_tracing_aborted" not in vars(serving):
        serving.server_tracing_seconds = ABORTED_SECONDS
        serving.server_tracing_aborted = why = lifecycle.why_aborted(serving)
        traced.abort(why)


def end(serving: Any) -> None:
    """In a worker that exits: deliver what can be delivered."""
    traced = vars(serving).get("server_tracing")
    if traced is not None:
        traced.stop_when_served(vars(serving).get("server_tracing_seconds", worker.STOP_SECONDS))
