"""The settings that a respawned process goes on with when they have become wrong since the first start.

uvicorn's supervisors (`--workers`, `--reload`) start every process anew and hand nothing on: a mistake in a
settings file would end a service that runs, at the next respawn. So a supervised process leaves the settings
it started with in the state directory, under its supervisor's pid and time of birth; one that finds them
wrong takes those, and only one whose supervisor has none, the first, gives up.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
from pathlib import Path

import msgspec

from server_tracing.config import Config, Loaded, resolve_state_dir
from server_tracing.statedir import StateDirError, ensure_private_dir, is_private

PREFIX, SUFFIX = "settings-", ".json"
OURS = re.compile(rf"{PREFIX}(?P<name>(?P<pid>\d+)-\d+)(?:(?P<written>{re.escape(SUFFIX)})|\.\d+)", re.ASCII)
STARTED = 19  # the field of /proc/<pid>/stat that says when, counted behind the command's name


def supervisor() -> str | None:
    """The process that started this one and will start its successors, if there is one."""
    parent = multiprocessing.parent_process()
    return None if parent is None or parent.pid is None else identity(parent.pid)


def identity(pid: int) -> str | None:
    """What no other process is called; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return f"{pid}-{stat.rpartition(')')[2].split()[STARTED]}"


def keep(loaded: Loaded, name: str, folder: str | None = None) -> None:
    """Leave these for the processes that the supervisor of this name will start."""
    # Then a successor has none; so it is too with objects given in code, such as a credential.
    with contextlib.suppress(OSError, StateDirError, TypeError):
        written_down = msgspec.json.encode(loaded.config)
        folder = folder or resolve_state_dir(os.environ)
        ensure_private_dir(folder)
        forget_the_dead(folder)
        written = os.path.join(folder, f"{PREFIX}{name}.{os.getpid()}")
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(written_down)
        os.replace(written, os.path.join(folder, PREFIX + name + SUFFIX))


def recall(name: str, folder: str | None = None) -> Loaded | None:
    """What was kept for processes of this supervisor."""
    try:
        folder = folder or resolve_state_dir(os.environ)
        if not is_private(folder, os.geteuid()):  # settings name code that is run
            return None
        config = msgspec.json.decode(Path(folder, PREFIX + name + SUFFIX).read_bytes(), type=Config)
    except (OSError, msgspec.MsgspecError):
        return None
    return Loaded(config, {}, [])


def forget_the_dead(folder: str) -> None:
    """Remove what supervisors left that have ended, and what was left half written; nobody else's files."""
    for path in Path(folder).glob(PREFIX + "*"):
        found = OURS.fullmatch(path.name)
        if found and not (found["written"] and identity(int(found["pid"])) == found["name"]):
            path.unlink(missing_ok=True)
