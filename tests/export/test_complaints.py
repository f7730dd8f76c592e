"""What is said aloud: once when it begins, once when it is over."""

from __future__ import annotations

from collections import Counter

from export_kit import Backend, Clock, Worker, origin

from server_tracing.export.complaints import CALM, QUIET, Complaints, Losses
from server_tracing.export.exporter import ExportError
from server_tracing.journal.journals import Journals
from server_tracing.journal.ring import PAYLOAD
from server_tracing.record import Event


class Sink:
    """In trouble or not."""

    name, trouble = "azure", ""


def said_of(sink, *troubles):
    """Complaints, at one second after the other."""
    complaints = Complaints([sink])
    for second, trouble in enumerate(troubles):
        sink.trouble = trouble
        complaints(float(second))


def messages(caplog):
    """What was logged, but for who said it."""
    return [record.getMessage().removeprefix("tracing, worker 4711: ") for record in caplog.records]


def events(worker):
    """What the exporter was told to have happened."""
    found = [record for record in worker.memory.records if isinstance(record, Event)]
    return [f"{event.what}: {event.detail}" for event in found]


def test_trouble_is_said_once_when_it_begins_and_once_when_it_ends(caplog):
    """Not once per batch."""
    said_of(Sink(), "", "refused", "refused again", *[""] * (int(CALM) + 3))
    assert messages(caplog) == ["exporter azure: refused", "exporter azure works again"]


def test_trouble_that_comes_and_goes_is_said_once(caplog):
    """A backend that fails now and then would fill the log."""
    said_of(Sink(), *["refused", "", "", "reset", ""] * 20)
    assert messages(caplog) == ["exporter azure: refused"]


def test_a_loss_is_said_once_when_it_begins_and_once_when_it_is_over(caplog):
    """With reason and count, in the log and as an event that every exporter gets."""
    worker, dropped = Worker(), Counter()
    losses = Losses(worker.journal, lambda: {"azure": dropped})
    losses(0.0)
    dropped["full"] += 2
    losses(1.0)
    dropped["refused"] += 1
    losses(2.0)
    losses(QUIET)
    losses(2.0 + QUIET)
    losses(3.0 + QUIET)
    said = [
        "loss: azure: 2 requests dropped (2 full) so far",
        "loss ended: azure: 3 requests dropped (2 full, 1 refused) in all; none lately",
    ]
    assert messages(caplog) == said
    worker.wake()
    assert events(worker) == said


def test_a_loss_is_told_as_soon_as_the_journal_has_room(caplog):
    """That it has none is the commonest reason of all for a loss."""
    worker = Worker(size=65536)
    losses = Losses(worker.journal, lambda: worker.reader.dropped)
    while worker.journal.lost < 3:
        worker.serve("/x" + "y" * 1000)
    while worker.journal.append(11, b"\xc0"):  # to the last byte
        pass
    assert worker.journal.size - worker.journal.used < PAYLOAD
    losses(0.0)
    worker.reader.wake()
    losses(1.0)
    assert messages(caplog) == ["loss: memory: 3 requests dropped (3 full) so far"]
    losses(2.0)
    worker.wake()
    assert events(worker) == messages(caplog)


def test_a_loss_that_goes_on_is_over_when_the_worker_ends(tmp_path, caplog):
    """What is lost last, too, and nothing more is said of it."""
    backend = Backend(*[ExportError("no", permanent=True, reason="refused")] * 2, name="azure")
    worker = Worker(backend, folder=tmp_path)
    losses = Losses(worker.journal, lambda: worker.reader.dropped)
    worker.serve("/a")
    worker.wake()
    losses(1.0)
    worker.serve("/b")
    worker.wake()
    losses.finish(2.0)
    assert messages(caplog) == [
        "loss: azure: 1 request dropped (1 refused) so far",
        "loss ended: azure: 2 requests dropped (2 refused) in all; the worker ends",
    ]


def test_a_loss_in_the_journal_of_a_dead_worker_is_said_too(tmp_path, caplog):
    """By whoever reads it, from then on: what its own worker had lost before is no news."""
    clock, journals = Clock(), Journals(str(tmp_path), service="shop", destinations="d", shm=str(tmp_path))
    refusal = ExportError("no", permanent=True, reason="refused")
    first = Worker(
        Backend(refusal, name="azure"),
        journal=journals.create(origin("a" * 16), 65536),
        journals=journals,
        folder=tmp_path,
        clock=clock,
    )
    first.serve("/a")
    first.wake()
    first.serve("/b")
    first.serve("/c")
    journals.release(first.journal)

    heir = Worker(
        Backend(refusal, name="azure"),
        journal=journals.create(origin("b" * 16), 65536),
        journals=journals,
        folder=tmp_path,
        clock=clock,
    )
    losses = Losses(heir.journal, lambda: heir.reader.dropped)
    for _ in range(3):
        heir.wake()
        losses(clock())
    assert messages(caplog) == ["loss: azure: 2 requests dropped (2 refused) so far"]
