"""A worker whose disk fails below it: `python disk_worker.py FAULT FOLDER` prints what came of it.

Those faults that need a file system of their own make one: the program is to be run in a mount namespace of
its own (`unshare -m`), where nobody else sees it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

REQUESTS = 60  # before the fault, while it lasts, and after it


def mount(*options: str, at: str) -> None:
    os.makedirs(at, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", at], check=True)


class Disk:
    """A small file system for the state, and what is wrong with it for a while."""

    options = "size=2m,mode=700"
    shm = "size=32m"

    def __init__(self, state: str) -> None:
        self.state = state
        self.filler = Path(state, "filler")

    def prepare(self) -> None:
        mount("-o", self.shm, at="/dev/shm")
        mount("-o", self.options, at=self.state)

    def strike(self) -> None:
        """Take it away."""

    def heal(self) -> None:
        """Give it back."""


class Full(Disk):
    def strike(self) -> None:
        with suppress(OSError), open(self.filler, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        with suppress(OSError), open(self.filler, "ab", buffering=0) as file:
            while True:
                file.write(b"x")

    def heal(self) -> None:
        self.filler.unlink()


class ReadOnly(Disk):
    """Another one in its place, as one with open files is only made read-only by the kernel itself."""

    def strike(self) -> None:
        mount("-o", "ro,mode=700", at=self.state)

    def heal(self) -> None:
        subprocess.run(["umount", "-l", self.state], check=True)


class NoInodes(Disk):
    options = "size=8m,mode=700,nr_inodes=60"

    def strike(self) -> None:
        self.filler.mkdir()
        with suppress(OSError):
            for number in range(1000):
                (self.filler / str(number)).touch()

    def heal(self) -> None:
        shutil.rmtree(self.filler)


class Deleted(Disk):
    """By somebody who tidies up: the state and the journal with it."""

    def prepare(self) -> None:
        pass

    def strike(self) -> None:
        for name in os.listdir(self.state):
            path = os.path.join(self.state, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        for folder in Path(f"/dev/shm/server-tracing-{os.geteuid()}").glob("*"):
            if any(journal.name.removesuffix(".journal") == OWN for journal in folder.glob("*.journal")):
                shutil.rmtree(folder)


class SmallShm(Disk):
    """A container's: the journal stands in the state directory."""

    options = "size=16m,mode=700"
    shm = "size=1m"


class NoPlaceAtFirst(Full):
    """Neither in shared memory nor on the disk is there room for a journal when the worker starts."""

    options = "size=4m,mode=700"
    shm = "size=64k"

    def prepare(self) -> None:
        super().prepare()
        self.strike()

    def strike(self) -> None:
        if not self.filler.exists():
            super().strike()


FAULTS = {kind.__name__: kind for kind in (Full, ReadOnly, NoInodes, Deleted, SmallShm, NoPlaceAtFirst)}
OWN = ""
DOWN = """
import os
from server_tracing.export.exporter import ExportError

class Down:
    name = "down"
    max_age = 0.05

    def __init__(self, setup):
        pass

    def export(self, records):
        if not os.path.exists(os.environ["BACKEND_IS_UP"]):
            raise ExportError("down")
"""


class Said(logging.Handler):
    """What the worker logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def eventually(done: Callable[[], object], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if done():
            return True
        time.sleep(0.05)
    return False


def main(fault: str, folder: str) -> None:
    global OWN
    state, up = os.path.join(folder, "state"), os.path.join(folder, "up")
    Path(folder, "down_backend.py").write_text(DOWN)
    sys.path.insert(0, folder)
    os.environ.update(
        SERVER_TRACING_DIR=state,
        SERVER_TRACING_EXPORTERS="local,down_backend:Down",
        SERVER_TRACING_JOURNAL_SIZE="1MiB",
        BACKEND_IS_UP=up,
        HOME=folder,
    )
    disk = FAULTS[fault](state)
    disk.prepare()

    from server_tracing import config, export, worker
    from server_tracing.export import chores, complaints
    from server_tracing.export.sending import sender
    from server_tracing.record import Outcome
    from server_tracing.store import Store, StoreError, View

    chores.HOME_EVERY, complaints.CALM = 0.3, 0.5
    sender.PATIENCE = sender.LONG_PATIENCE = 0.3
    said = Said()
    logging.getLogger("server_tracing").addHandler(said)
    loaded = config.load()
    running = worker.start(loaded, server="test 1", worker_class="sync", app="shop:app")
    OWN = running.journal.origin.id

    def serve() -> None:
        for number in range(REQUESTS):
            slot = running.recorder.begin_text("GET", f"/{number}", "1.1", "http", "", 0, [("HOST", "shop")])
            running.recorder.end(slot, Outcome.OK, 200)
        time.sleep(1.0)  # it is the fault that is to last, not a state that is to be reached

    def stored() -> int:
        with suppress(StoreError):
            view = View.open(os.path.join(state, "store.sqlite"))
            try:
                return len(list(view.query()))
            finally:
                view.close()
        return 0

    serve()
    disk.strike()
    serve()
    disk.heal()
    serve()
    expected = 2 * REQUESTS if fault == "Deleted" else 3 * REQUESTS
    found = {"recovered": eventually(lambda: stored() >= expected)}
    found["journal stands"] = eventually(lambda: os.path.exists(str(running.journal.path)))
    time.sleep(1.2)
    running.stop()
    Path(up).touch()
    summary = export.recover(loaded)
    store = Store(os.path.join(state, "store.sqlite"))
    totals = store.totals()
    found |= {
        "left": summary.left,
        "spooled": summary.spooled,
        "seen": {name: counts["seen"] for name, counts in totals.exporters.items()},
        "delivered": {name: counts["delivered"] for name, counts in totals.exporters.items()},
        "pending": {name: counts["spooled"] for name, counts in totals.exporters.items()},
        "dropped": totals.dropped,
        "said": dict(Counter(line for line in said.lines)),
    }
    store.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
