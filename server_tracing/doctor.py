"""What `server-tracing doctor` looks at: everything that stands between a command line and a record.

Each check yields findings and repairs nothing. What it has to try out (a journal, a batch) it tries where the
servers would, and takes away again; only a backend that is elsewhere gets to keep its one test record.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from importlib import metadata

import msgspec
from msgspec import Struct

from server_tracing.config import Config, ConfigError, Loaded, destinations, table
from server_tracing.journal.journals import Journals
from server_tracing.record import Request
from server_tracing.statedir import StateDirError, ensure_private_dir
from server_tracing.viewer.human import size

OK, WARN, FAIL = "ok", "warn", "fail"
DOOR = "server_tracing.gunicorn"
OLDEST = {"gunicorn": (21, 2), "uvicorn": (0, 23)}
DOOR_BY_NAME = (0, 38)  # uvicorn takes an import string for --http from here on
LITTLE = 64 << 20  # bytes that should be free beside what we ask for


class Finding(Struct, frozen=True):
    """What one check found; `remedy` is what to do about it."""

    verdict: str
    subject: str
    text: str
    remedy: str = ""


def examine(load: Callable[[], Loaded], environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """All checks, in the order in which things can go wrong."""
    yield from servers(environ)
    yield from shadowed(environ)
    try:
        loaded = load()
    except ConfigError as error:
        yield Finding(FAIL, "settings", str(error), "correct this setting; a server would not start with it")
        return
    yield from settings(loaded)
    place = list(state(loaded.config))
    yield from place
    if any(finding.verdict == FAIL for finding in place):
        return  # nothing else can be had
    yield from journal(loaded.config)
    yield from left_behind(loaded.config)
    yield from left_on_disk(loaded.config)
    for name in loaded.config.exporters:
        yield exporter(loaded.config, name)
    yield from central_rules(loaded.config)


# ---------------------------------------------------------------- servers


def servers(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Is one there, and recent enough?"""
    found = {name: version for name in OLDEST if (version := _version(name))}
    for name, version in found.items():
        oldest = ".".join(map(str, OLDEST[name]))
        if _numbers(version) < OLDEST[name]:
            yield Finding(FAIL, name, f"{version} is too old", f"install {name} {oldest} or later")
        else:
            yield Finding(OK, name, version)
    if not found:
        yield Finding(
            FAIL,
            "servers",
            "neither gunicorn nor uvicorn is installed here",
            "run this where your server runs",
        )
    by_name = environ.get("UVICORN_HTTP", "").startswith("server_tracing.")
    if by_name and _numbers(found.get("uvicorn", "0")) < DOOR_BY_NAME:
        yield Finding(
            FAIL, "UVICORN_HTTP", "needs uvicorn 0.38 or later", "use `server-tracing run uvicorn ...`"
        )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def shadowed(environ: Mapping[str, str]) -> Iterator[Finding]:
    """gunicorn reads the last `-c` only: one on the command line hides ours in the variable."""
    if not _names_door(environ):
        return
    hidden = [pid for pid, command, variables in _gunicorns() if _names_door(variables) and _config(command)]
    if hidden:
        yield Finding(
            FAIL,
            "gunicorn -c",
            f"pid {', '.join(map(str, hidden))} has a -c on its command line, which hides the one in "
            "GUNICORN_CMD_ARGS: it is not recorded",
            "start it with `server-tracing run gunicorn ...`, or call install(globals()) in its own file",
        )
    else:
        yield Finding(
            OK, "gunicorn -c", "GUNICORN_CMD_ARGS names the door; a -c on a command line would hide it"
        )


def _names_door(environ: Mapping[str, str]) -> bool:
    return DOOR in environ.get("GUNICORN_CMD_ARGS", "")


def _config(command: Iterable[str]) -> bool:
    """Does a command line name a configuration that is not ours?"""
    words = iter(command)
    for word in words:
        if word in ("-c", "--config"):
            return DOOR not in next(words, "")
        if word.startswith("--config=") or (word.startswith("-c") and not word.startswith("--")):
            return DOOR not in word
    return False


def _gunicorns() -> Iterator[tuple[int, list[str], dict[str, str]]]:
    """This user's, with command line and environment."""
    import psutil

    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if any(os.path.basename(word).startswith("gunicorn") for word in command[:3]):
                yield process.pid, command[1:], process.environ()
        except psutil.Error:  # gone, or somebody else's
            continue


# ---------------------------------------------------------------- settings and places


def settings(loaded: Loaded) -> Iterator[Finding]:
    """What is set, and what was ignored."""
    given = {key: source for key, source in loaded.sources.items() if source != "default"}
    text = f"{len(given)} set, the rest default; exporters: {', '.join(loaded.config.exporters) or 'none'}"
    yield Finding(OK, "settings", text)
    for warning in loaded.warnings:
        yield Finding(WARN, "settings", warning, "`server-tracing config` shows what holds")
    if not loaded.config.enabled:
        remedy = f"it is set by: {loaded.sources.get('enabled', 'default')}"
        yield Finding(WARN, "settings", "tracing is switched off", remedy)
    if not loaded.config.exporters:
        yield Finding(WARN, "settings", "no exporter is named: nothing is kept", 'exporters = ["local"]')


def state(config: Config) -> Iterator[Finding]:
    """Can the directory be had, by this user alone, with room for what may come?"""
    try:
        ensure_private_dir(config.state_dir)
    except StateDirError as error:
        yield Finding(FAIL, "state", str(error), "name a directory that can be used: SERVER_TRACING_DIR=...")
        return
    free, wanted = shutil.disk_usage(config.state_dir).free, config.local.max_size + LITTLE
    text = f"{config.state_dir}, {size(free)} free"
    if free < wanted:
        yield Finding(
            WARN, "state", f"{text}, less than {size(wanted)}", "make room, or lower local.max_size"
        )
    else:
        yield Finding(OK, "state", text)


def journal(config: Config) -> Iterator[Finding]:
    """Makes one, as a worker would, and takes it away."""
    journals = Journals.of(config, config.service)
    made = journals.create(journals.origin("doctor"), config.journal.size)
    path = made.path
    journals.remove(made)
    remedy = "make room there, or name another place: journal.dir; what a killed worker saw depends on it"
    if path is None:
        yield Finding(FAIL, "journal", "; ".join(journals.notes), remedy)
    elif journals.notes:
        where = os.path.dirname(path)
        yield Finding(WARN, "journal", f"{'; '.join(journals.notes)}; it stands in {where} instead", remedy)
    else:
        yield Finding(OK, "journal", f"{size(config.journal.size)} in {os.path.dirname(path)}")


def left_behind(config: Config) -> Iterator[Finding]:
    """Journals of dead workers that nobody who runs today may claim."""
    dead = [seen for seen in _look(config) if not seen[1]]
    foreign = [service for service, _, ours in dead if not ours]
    if foreign:
        text = f"{len(foreign)} of other settings wait here ({', '.join(sorted(set(foreign)))})"
        yield Finding(WARN, "journals", text, "`server-tracing recover` delivers them with today's settings")
    elif dead:
        yield Finding(OK, "journals", f"{len(dead)} of dead workers wait for the next worker")


def left_on_disk(config: Config) -> Iterator[Finding]:
    """Requests that could not be delivered under other settings: a corrected address, another exporter."""
    from server_tracing.export.sending.spool import Spool

    above, same = os.path.join(config.state_dir, "spool"), destinations(config)
    waiting: dict[str, int] = {}
    for folder in sorted(os.listdir(above)) if os.path.isdir(above) else ():
        exporter, _, destination = folder.rpartition("-")
        if destination != same:
            found = Spool(os.path.join(above, folder), "", size=0, age=0.0).waiting()
            waiting[exporter] = waiting.get(exporter, 0) + found
    for exporter, count in waiting.items():
        if count:
            text = f"{count} requests of other settings wait for {exporter}"
            yield Finding(WARN, "spool", text, "`server-tracing recover` delivers them with today's settings")


def _look(config: Config) -> list[tuple[str, bool, bool]]:
    same = destinations(config)
    return [
        (
            seen.journal.origin.service,
            seen.alive,
            seen.journal.origin.destinations == same and config.service in ("", seen.journal.origin.service),
        )
        for seen in Journals.of(config, config.service).look()
    ]


# ---------------------------------------------------------------- exporters


def exporter(config: Config, name: str) -> Finding:
    """Hands it one record. What it keeps in the state directory, it keeps in a folder that goes away."""
    from server_tracing.export.exporter import ExportError, Probing, Setup
    from server_tracing.export.registry import create

    try:
        with tempfile.TemporaryDirectory(prefix="doctor-", dir=config.state_dir) as folder:
            trial = msgspec.structs.replace(config, state_dir=folder)
            service = config.service or "server-tracing doctor"
            made = create(name, Setup(trial, table(config, name), service, folder))
            try:
                said = "took a test record"
                if isinstance(made, Probing):
                    said = made.probe(specimen(config))
                else:
                    made.export([specimen(config)])
            finally:
                getattr(made, "close", lambda: None)()
    except ExportError as error:
        remedy = error.remedy or "see the exporter's settings: `server-tracing config`"
        return Finding(FAIL, name, str(error), remedy)
    except Exception as error:  # noqa: BLE001 - an exporter may be anybody's
        return Finding(FAIL, name, f"{type(error).__name__}: {error}", "this is a fault of the exporter")
    return Finding(OK, name, said)


def central_rules(config: Config) -> Iterator[Finding]:
    """Asks for X-Ray's sampling rules, where they decide."""
    if not config.by_xray:
        return
    from server_tracing.export.xray.central import control_plane
    from server_tracing.export.xray.control_plane import ControlPlaneError
    from server_tracing.sampling import sampler_for

    rules = sampler_for(config).central
    assert rules is not None
    plane = control_plane(rules, config, config.service or "server-tracing doctor")
    try:
        many = len(plane.rules().definitions)
    except ControlPlaneError as error:
        remedy = "until they come the local ones decide; xray.sampling = ratio does without rules"
        yield Finding(WARN, "sampling", f"no rules from {plane.place}: {error}", remedy)
    else:
        yield Finding(OK, "sampling", f"rules from {plane.place}: {many}")


def specimen(config: Config) -> Request:
    """A request that no server saw."""
    now = datetime.now(timezone.utc)
    return Request(
        trace_id=f"{int(now.timestamp()):08x}{os.urandom(12).hex()}",
        span_id=os.urandom(8).hex(),
        service=config.service or "server-tracing doctor",
        method="GET",
        scheme="http",
        host="localhost",
        path="/server-tracing-doctor",
        route="/server-tracing-doctor",
        status=200,
        outcome="ok",
        start=now,
        duration_ms=1.0,
        worker_pid=os.getpid(),
        kept_because="doctor",
    )
