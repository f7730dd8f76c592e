"""A worker killed at every step of its journal, its claims, its spool and its store: nothing is lost, nothing
is told wrongly, and what comes twice is one batch with the ids it had."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
import pytest
from crash_points import Step, killed_at, steps
from export_kit import Clock, Worker, origin, settings
from report import report, size

from server_tracing.config.settings import Local
from server_tracing.export.exporter import ExportError, Setup
from server_tracing.export.local import LocalExporter
from server_tracing.export.sending.sender import PATIENCE, Sender
from server_tracing.journal.journals import Journals
from server_tracing.record import Outcome, Request
from server_tracing.store import Store

MODULES = {
    "journal": ["journal/__init__.py", "journal/ring.py", "journal/pages.py", "journal/frames.py"],
    "places": ["journal/journals.py", "journal/locks.py", "journal/maps.py", "journal/leftovers.py"],
    "claims": ["export/heirs/claims.py", "export/source.py", "export/lane.py", "export/reader.py"],
    "spool": ["export/sending/spool.py", "export/sending/spool_file.py", "export/sending/spool_names.py"],
    "sender": ["export/sending/sender.py", "export/sending/overflow.py", "export/sending/backlog.py"],
    "store": [
        "store/__init__.py",
        "store/file.py",
        "store/writer.py",
        "export/local.py",
        "export/sending/inline.py",
    ],
}
BEFORE, REQUESTS, BATCH = 3, 10, 4
ONE_FILE = BATCH + 1  # what a spool file holds in this life: it is delivered as one batch


class Filed:
    """A backend that keeps what it takes in a file: a batch is one write."""

    name = "backend"
    max_age, max_batch = 0.0, BATCH

    def __init__(self, path: Path, *script: str) -> None:
        self.path, self.script = path, list(script)

    def export(self, records) -> None:
        mood = self.script.pop(0) if self.script else "up"
        if mood == "down":
            raise ExportError("down", retry_after=1.0)
        taken = records[: len(records) // 2] if mood == "half" else records
        lines = [msgspec.json.encode(record) + b"\n" for record in taken if isinstance(record, Request)]
        _append(self.path, b"".join(lines))
        if mood == "half":
            raise ExportError("206", remaining=records[len(taken) :])


def _append(path: Path, line: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line)
    os.close(file)


class Place:
    """Where generations of workers live one after the other, and what is known of them from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said, self.taken = folder / "said", folder / "taken"
        (folder / "shm").mkdir()

    def worker(self, number: int, *script: str, now: float = 1000.0) -> Worker:
        name = f"{number:016}"  # the order of spool files goes by it: all lives are alike
        state = str(self.folder / "state")
        config = settings(state_dir=state, local=Local())
        local = LocalExporter(Setup(config, {}, "shop", state))
        local.max_batch = BATCH
        journals = Journals(state, service="shop", destinations="d", shm=str(self.folder / "shm"))
        journal = journals.create(origin(name, state_dir=state, seed=name.encode()), 65536)
        return Worker(
            local,
            Filed(self.taken, *script),
            config=config,
            journal=journal,
            journals=journals,
            folder=self.folder,
            clock=Clock(now),
            fold=local.opener.fold,
        )

    def serve(self, worker: Worker, numbers: range, wake: int) -> None:
        """What a client knows of each request is written down when it knows it."""
        for number in numbers:
            slot = worker.begin(f"/{number}")
            _append(self.said, b"begun %d\n" % number)
            worker.clock.advance(0.01)
            if number % 4 != 3:
                worker.recorder.end(slot, Outcome.OK, 200)
                _append(self.said, b"answered %d\n" % number)
            if wake and number % wake == 0:
                worker.wake(0.6, steps=1)

    def predecessor(self) -> None:
        """One that died before: half delivered, one request in flight, its backend down."""
        worker = self.worker(1, "down", now=500.0)
        self.serve(worker, range(BEFORE - 1), 1)
        self.serve(worker, range(BEFORE, BEFORE + 1), 0)
        worker.journals.release(worker.journal)
        for sink in worker.sinks:
            sink.close()

    def life(self) -> None:
        """A worker's, with everything in it: claims, a backend that fails, a spool, an end in order."""
        worker = self.worker(2, "up", "down", "down", "half")
        self.serve(worker, range(10, 10 + REQUESTS), 3)
        worker.wake(PATIENCE + 1, steps=2)
        worker.wake(40.0, steps=6)
        self.serve(worker, range(30, 32), 1)
        worker.reader.finish(0.0)
        for sink in worker.sinks:
            if isinstance(sink, Sender):
                sink._run()  # to its end: it was told to stop

    def heirs(self) -> None:
        """Two at once, until there is nothing left to do."""
        workers = [self.worker(3, now=5000.0), self.worker(4, now=5000.0)]
        for _ in range(12):
            for worker in workers:
                worker.wake(3.0, steps=2)
        for worker in workers:
            worker.reader.finish(0.0)

    # ------------------------------------------------------------ what became of it

    def lines(self, path: Path) -> list[bytes]:
        return path.read_bytes().splitlines() if path.exists() else []

    def assert_sound(self) -> tuple[int, int]:
        """Everything told, once in the store and at most a batch twice to the backend; how many of each."""
        said = [line.split() for line in self.lines(self.said)]
        begun = {f"/{int(number)}" for word, number in said if word == b"begun"}
        answered = {f"/{int(number)}" for word, number in said if word == b"answered"}
        store = Store(str(self.folder / "state" / "store.sqlite"))
        stored, totals = list(store.query()), store.totals()
        store.close()
        taken = [msgspec.json.decode(line, type=Request) for line in self.lines(self.taken)]
        for told in (stored, taken):
            outcomes = {(request.path, request.outcome) for request in told}
            assert begun <= {path for path, _ in outcomes}
            assert len({path for path, _ in outcomes} - begun) <= 1  # killed before it could say so
            assert {(path, "ok") for path in answered} <= outcomes
            assert not {(path, "killed") for path in answered} & outcomes
        assert len({request.span_id for request in stored}) == len(stored)
        assert {request.span_id for request in stored} == {request.span_id for request in taken}
        assert {(one.span_id, one.trace_id, one.path) for one in stored} == {
            (one.span_id, one.trace_id, one.path) for one in taken
        }
        twice = len(taken) - len(stored)
        assert twice <= ONE_FILE
        assert totals.dropped == {}
        for name, counts in totals.exporters.items():
            assert (counts["seen"], counts["delivered"], counts["spooled"]) == (len(stored),) * 2 + (0,), name
        assert self.left_over() == []
        return len(stored), twice

    def left_over(self) -> list[str]:
        """Files that nobody will take away any more."""
        known = {"store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "store.sqlite.lock", "said", "taken"}
        found = {name for _, _, files in os.walk(self.folder) for name in files}
        return sorted(found - known)


@pytest.fixture
def place(tmp_path_factory):
    """Makes places."""
    return lambda: Place(tmp_path_factory.mktemp("place"))


def test_a_life_without_a_kill_is_sound(place):
    """Otherwise the rest shows nothing."""
    lived = place()
    lived.predecessor()
    lived.life()
    lived.heirs()
    assert lived.assert_sound() == (BEFORE + REQUESTS + 2, 0)


@pytest.mark.parametrize("part", MODULES)
def test_killed_at_any_step(place, part):
    """Whatever it was about to do: its journal is adopted, its spool delivered, its store whole."""
    tried = place()
    tried.predecessor()
    known = steps(tried.life, MODULES[part])
    chosen = known[:: max(1, len(known) // size(25, len(known)))]
    told, twice = 0, 0
    for step in chosen:
        lived = place()
        lived.predecessor()
        assert killed_at(step, lived.life)
        with described(step):
            lived.heirs()
            counts = lived.assert_sound()
        told, twice = told + counts[0], twice + counts[1]
    report(f"a worker is killed at {len(chosen):,} steps ({part})", requests=told, duplicated=twice)


@contextlib.contextmanager
def described(step: Step):
    try:
        yield
    except BaseException as error:
        error.add_note(f"killed at {step}") if hasattr(error, "add_note") else print(f"killed at {step}")
        raise
