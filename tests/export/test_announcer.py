"""The announcer: who asks for requests that take long is told of them, once; nothing is counted twice."""

from __future__ import annotations

from export_kit import Backend, Worker, assert_balanced

from server_tracing.config import Sampling
from server_tracing.export.announcer import AFTER, OFTEN, Announcer
from server_tracing.export.exporter import ExportError
from server_tracing.export.memory import MemoryExporter
from server_tracing.export.pace import Pace
from server_tracing.export.sending.sender import PATIENCE
from server_tracing.export.shape import Shaper
from server_tracing.record import Outcome, Request, Running
from server_tracing.sampling import Sampler


def shows_running(*script) -> Backend:
    return Backend(*script, running=True)


def announcer(worker: Worker, sampling: Sampling | None = None) -> Announcer:
    return Announcer(
        worker.source,
        Shaper(worker.config, worker.journal.origin),
        Sampler(sampling or worker.config.sampling, worker.clock),
        Pace(sleep=lambda seconds: None),
        clock=worker.clock.ns,
    )


def told(backend: Backend) -> list[tuple[type, str, str]]:
    records = [record for batch in backend.taken for record in batch]
    inner = [record.request if isinstance(record, Running) else record for record in records]
    return [(type(record), one.path, one.outcome) for record, one in zip(records, inner, strict=True)]


def test_what_takes_long_is_announced_once_and_then_told_whole(tmp_path):
    """Under the same ids, and counted once."""
    backend, memory = shows_running(), MemoryExporter()
    worker = Worker(backend, memory, folder=tmp_path)
    announce = announcer(worker)
    slot = worker.begin("/long")
    worker.serve("/short")
    worker.wake()
    announce(1.0)
    worker.clock.advance(AFTER)
    for look in range(2, 5):
        announce(look * OFTEN)
        worker.wake()
    worker.recorder.end(slot, Outcome.OK, 200)
    worker.wake()
    assert told(backend) == [
        (Request, "/short", "ok"),
        (Running, "/long", "running"),
        (Request, "/long", "ok"),
    ]
    announced, ended = backend.taken[-2][0].request, backend.taken[-1][0]
    assert (announced.trace_id, announced.span_id) == (ended.trace_id, ended.span_id)
    assert [type(record) for record in memory.records] == [Request, Request]
    assert worker.checkpoint.exporters["backend"].delivered == 2
    assert_balanced(worker.checkpoint)


def test_nobody_who_does_not_ask_is_told(tmp_path):
    """Then nothing is looked at, either."""
    backend = Backend()
    worker = Worker(backend, folder=tmp_path)
    worker.begin("/long")
    worker.wake()
    worker.clock.advance(2 * AFTER)
    announcer(worker)(1.0)
    worker.wake()
    assert backend.taken == []


def test_what_is_not_sampled_is_not_announced_and_stays_so(tmp_path):
    """The decision is made then, and is the one that the end will be held to."""
    backend = shows_running()
    worker = Worker(backend, folder=tmp_path)
    slot = worker.begin("/long")
    worker.wake()
    worker.clock.advance(2 * AFTER)
    announcer(worker, Sampling(rate=0.0))(1.0)
    worker.wake()
    assert backend.taken == []
    (trail,) = worker.source.joiner.open.values()
    assert trail.told is not None
    assert not trail.told.sampled
    worker.recorder.end(slot, Outcome.OK, 200)
    worker.wake()
    assert backend.paths == ["/long"]  # slow, and kept as such


def test_an_announcement_waits_on_no_disk(tmp_path):
    """Delivered after the end it would undo it."""
    backend = shows_running(ExportError("down", retry_after=60))
    worker = Worker(backend, folder=tmp_path)
    slot = worker.begin("/long")
    worker.serve("/short")
    worker.clock.advance(2 * AFTER)
    worker.reader.wake()
    announcer(worker)(1.0)
    worker.wake(0.1)
    worker.wake(PATIENCE + 1)
    worker.recorder.end(slot, Outcome.OK, 200)
    worker.wake(120)
    worker.wake()
    assert sorted(told(backend)) == sorted([(Request, "/long", "ok"), (Request, "/short", "ok")], key=str)
    assert_balanced(worker.checkpoint)


def test_its_repr_says_whom_it_tells(tmp_path):
    """And when."""
    worker = Worker(shows_running(), folder=tmp_path)
    assert repr(announcer(worker)) == "<Announcer after 5 s to 1 exporters>"
