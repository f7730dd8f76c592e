"""What the exporter's tests are made of: a worker in miniature, a clock one turns, backends that obey."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from server_tracing.capture.recorder import Recorder
from server_tracing.config import Config
from server_tracing.export.chores import Carrier, Heads
from server_tracing.export.exporter import Exporter, traits
from server_tracing.export.heirs.claims import Claims
from server_tracing.export.heirs.deaths import Deaths
from server_tracing.export.memory import MemoryExporter
from server_tracing.export.pace import Pace
from server_tracing.export.reader import Reader
from server_tracing.export.sending.delivery import BackOff
from server_tracing.export.sending.inline import Inline
from server_tracing.export.sending.parcel import requests_in
from server_tracing.export.sending.sender import Sender
from server_tracing.export.sending.spool import Spool
from server_tracing.export.shape import Shaper
from server_tracing.export.source import Source
from server_tracing.export.stuck.in_flight import InFlight
from server_tracing.journal import Journal, initialise, total_size
from server_tracing.journal.journals import Journals
from server_tracing.journal.ledger import Checkpoint
from server_tracing.record import Origin, Outcome, Record, Request
from server_tracing.sampling import sampler_for

SECOND = 1_000_000_000
WALL = 1_800_000_000 * SECOND
HEADERS = [("HOST", "shop.example:8000"), ("USER-AGENT", "curl/8.0")]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def ns(self) -> int:
        return int(self.now * SECOND)

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Backend:
    """A backend that takes everything, or does what the test scripted: an exception per call, or None."""

    name = "backend"
    max_age = 0.0

    def __init__(self, *script: BaseException | None, name: str = "backend", **given: object) -> None:
        self.name = name
        self.script = list(script)
        self.taken: list[list[Record]] = []
        self.calls = 0
        self.gate: threading.Event | None = None  # set: a call waits for it
        self.called = threading.Event()
        for trait, value in given.items():
            setattr(self, trait, value)

    def export(self, records: Sequence[Record]) -> None:
        self.calls += 1
        self.called.set()
        if self.gate is not None:
            assert self.gate.wait(30)
        answer = self.script.pop(0) if self.script else None
        if answer is not None:
            raise answer
        self.taken.append(list(records))

    @property
    def paths(self) -> list[str]:
        return [record.path for batch in self.taken for record in batch if isinstance(record, Request)]


def origin(name: str = "0123456789abcdef", **given: object) -> Origin:
    """Whose journal it is."""
    fixed = {"seed": b"s" * 16, "pid": 4711, "service": "shop", "destinations": "d", "state_dir": "/s"}
    return Origin(**{"id": name, "wall": WALL, "monotonic": 0, "server": "test 1", **fixed, **given})


def journal_in_memory(size: int = 1 << 20, **given: object) -> Journal:
    """A journal that no file stands behind."""
    return initialise(mmap.mmap(-1, total_size(size)), origin(**given), size)


def settings(**given: object) -> Config:
    """Default settings, but for those given."""
    return Config(**given)


def record(number: int = 1, **given: object) -> Request:
    """A finished request."""
    from datetime import datetime, timezone

    fixed = {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "service": "shop",
        "path": f"/{number}",
        "outcome": "ok",
        "start": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "duration_ms": 1.5,
        "worker_pid": 4711,
    }
    return Request(**{**fixed, **given})


class Worker:
    """A recorder and a reader over one journal, everything in the test's own thread."""

    def __init__(
        self,
        *exporters: Exporter,
        journal: Journal | None = None,
        journals: Journals | None = None,
        config: Config | None = None,
        folder: Path | None = None,
        clock: Clock | None = None,
        reasons: Callable[[int], tuple[str, int] | None] | None = None,
        size: int = 1 << 20,
        fold: Callable[[str, Checkpoint], object] | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.config = config or settings()
        self.folder = folder
        self.journal = journal or journal_in_memory(size)
        self.recorder = Recorder(self.journal, clock=self.clock.ns)
        self.memory = next((e for e in exporters if isinstance(e, MemoryExporter)), MemoryExporter())
        self.sinks = [self.sink(exporter) for exporter in exporters or (self.memory,)]
        self.folded: dict[str, Checkpoint] = {}
        fold = fold or self.folded.__setitem__
        self.journals = journals or NoJournals()
        pace = Pace(sleep=lambda seconds: None)
        sampler = sampler_for(self.config, self.clock)

        def open_source(found: Journal) -> Source:
            source = Source(found, self.sinks, Shaper(self.config, found.origin), sampler, pace)
            for sink in self.sinks:
                if sink.spool is not None:
                    source.adopt_spool(sink, sink.spool)
            return source

        self.source = open_source(self.journal)
        self.claims = Claims(self.journals, open_source, fold, Deaths(reasons), draw=lambda: 0.0)
        joiner = self.source.joiner
        self.flying = InFlight(self.journal, joiner, self.recorder.open.values)
        chores = (
            Heads(self.flying, pace),
            Carrier(self.journal, joiner, lambda: self.source.position),
        )
        self.reader = Reader(
            self.source,
            self.sinks,
            self.claims,
            self.journals,
            fold,
            chores=chores,
            clock=self.clock,
        )

    def sink(self, exporter: Exporter) -> Inline | Sender:
        wanted = traits(exporter)
        if not wanted.blocking:
            return Inline(exporter, clock=self.clock, back_off=BackOff(draw=lambda: 1.0))
        assert self.folder is not None, "a backend that may block needs a folder for its spool"
        spool = Spool(
            os.path.join(self.folder, "spool", exporter.name),
            self.journal.origin.id,
            size=wanted.spool_size,
            age=wanted.spool_age,
            wall=lambda: WALL + self.clock.ns(),
        )
        back_off = BackOff(draw=lambda: 1.0)
        # The thread is not started: the test takes its steps.
        return Sender(exporter, spool, clock=self.clock, back_off=back_off, start_thread=lambda run: None)

    def serve(self, path: str, status: int = 200, headers: list | None = None, **given: object) -> None:
        """One request, from begin to end."""
        slot = self.begin(path, headers)
        self.clock.advance(0.01)
        self.recorder.end(slot, given.pop("outcome", Outcome.OK), status, **given)

    def begin(self, path: str, headers: list | None = None):
        return self.recorder.begin_text(
            "GET", path, "1.1", "http", "192.0.2.7", 4711, HEADERS if headers is None else headers
        )

    def wake(self, seconds: float = 2.0, steps: int = 4) -> None:
        """The reader reads, and some time later it and the senders do what there is to do."""
        self.reader.wake()
        self.clock.advance(seconds)
        for _ in range(steps):
            self.reader.wake()
            for sink in self.sinks:
                if isinstance(sink, Sender):
                    sink.step()
        self.reader.wake()

    @property
    def checkpoint(self) -> Checkpoint:
        return self.journal.checkpoint()

    @property
    def paths(self) -> list[str | None]:
        return [request.path for request in self.memory.requests]


class NoJournals(Journals):
    """Where there are no others."""

    def __init__(self) -> None:
        pass

    def words(self, journal: Journal) -> str:
        return ""

    def orphans(self, *, any_destination: bool = False):
        return iter(())

    def sweep(self) -> None:
        pass

    def remove(self, journal: Journal) -> None:
        pass

    def release(self, journal: Journal) -> None:
        pass

    def set_aside(self, journal: Journal) -> None:
        pass


def assert_balanced(checkpoint: Checkpoint) -> None:
    """The identity of the accounts holds for every exporter."""
    for name, tally in checkpoint.exporters.items():
        ended = checkpoint.seen - checkpoint.excluded - checkpoint.in_flight
        assert tally.accounted == ended, (name, checkpoint)


__all__ = [
    "HEADERS",
    "SECOND",
    "WALL",
    "Backend",
    "Clock",
    "NoJournals",
    "Worker",
    "assert_balanced",
    "journal_in_memory",
    "origin",
    "record",
    "requests_in",
    "settings",
]
