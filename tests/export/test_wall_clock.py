"""The wall clock is set while requests run: durations stay what they are, times follow."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from export_kit import SECOND, WALL, Worker

from server_tracing.export.source import Source
from server_tracing.export.stuck.in_flight import Slot
from server_tracing.export.wallclock import EVERY, LEAST, WallClock, nanoseconds, stepped
from server_tracing.record import Kind, Mark, Outcome

HOUR = 3600.0


class Wall:
    """A wall clock that somebody sets, beside a worker's own."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.ahead = 0.0
        self.chore = WallClock(worker.journal, wall=self.now, monotonic=worker.clock.ns)

    def now(self) -> int:
        return WALL + self.worker.clock.ns() + int(self.ahead * SECOND)

    def set(self, by: float) -> None:
        self.ahead += by
        self.worker.clock.advance(EVERY)
        self.chore(self.worker.clock())
        self.worker.reader.wake()


def end(worker: Worker, slot: Slot) -> None:
    worker.recorder.end(slot, Outcome.OK, 200)


@pytest.mark.parametrize("step", [HOUR, -HOUR, 8 * HOUR, -0.2])
def test_a_step_in_the_middle_of_a_request_changes_its_time_and_not_its_duration(step):
    """Forth and back; the next request is told by the new time."""
    worker = Worker()
    wall = Wall(worker)
    worker.serve("/before")
    during = worker.begin("/during")
    wall.set(step)
    end(worker, during)
    worker.serve("/after")
    wall.set(-step)
    worker.serve("/back")
    worker.wake()
    told = {request.path: request for request in worker.memory.requests}
    assert told["/during"].duration_ms == pytest.approx(EVERY * 1000)
    assert all(request.duration_ms >= 0 for request in told.values())
    first = told["/before"].start
    assert near(told["/after"].start - first, step)
    assert near(told["/back"].start - first, 0)


def near(span: timedelta, seconds: float) -> bool:
    return abs(span.total_seconds() - seconds) < 10 * EVERY


def test_what_is_no_step_is_not_marked():
    """Nor looked for all the time."""
    worker = Worker()
    wall = Wall(worker)
    wall.set(LEAST / 2)
    wall.ahead += HOUR
    wall.chore(worker.clock())
    assert [frame for frame in worker.journal.frames(0) if frame.kind == Kind.MARK] == []


def test_an_heir_reads_by_the_time_that_was_set_last():
    """Also when the mark has been read, counted and passed over."""
    worker = Worker()
    wall = Wall(worker)
    wall.set(HOUR)
    worker.wake()
    assert worker.checkpoint.stepped == nanoseconds(HOUR)
    worker.serve("/late")
    shaper = worker.source._shaper.__class__(worker.config, worker.journal.origin)
    heir = Source(worker.journal, worker.sinks, shaper, worker.source._sampler, worker.source._pace)
    assert heir.stepped == nanoseconds(HOUR)
    expected = datetime.fromtimestamp(wall.now() / 1e9, tz=shaper.when(0).tzinfo)
    assert abs((shaper.when(worker.clock.ns()) - expected).total_seconds()) < LEAST


@pytest.mark.parametrize("detail", ["", "soon", "nan s", "inf s", "1e999 s", "1e12 s"])
def test_a_mark_of_nonsense_is_counted_and_changes_nothing(detail):
    """A journal's bytes may be anybody's."""
    worker = Worker()
    worker.recorder.mark("clock", detail)
    worker.serve("/a")
    worker.wake()
    assert worker.source.stepped == 0
    assert worker.checkpoint.garbled == 1
    assert len(worker.memory.requests) == 1


def test_other_marks_are_no_steps():
    """A boot is a boot."""
    assert stepped(Mark(1, "boot", "+5.000 s")) == 0
    assert stepped(Mark(1, "clock", "-5.000 s")) == -5 * SECOND
