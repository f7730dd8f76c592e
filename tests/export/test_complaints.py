"""What is said aloud: once when it begins, once when it is over."""

from __future__ import annotations

from export_kit import Worker

from server_tracing.export.complaints import QUIET, Complaints, Losses
from server_tracing.journal.ledger import Tally
from server_tracing.record import Event


def test_trouble_is_said_once_when_it_begins_and_once_when_it_ends(caplog):
    """Not once per batch."""

    class Sink:
        name, trouble = "azure", ""

    sink = Sink()
    complaints = Complaints([sink])
    for trouble in ("", "refused", "refused again", "", ""):
        sink.trouble = trouble
        complaints(0.0)
    assert [record.getMessage() for record in caplog.records] == [
        "exporter azure: refused",
        "exporter azure works again",
    ]


def test_a_loss_is_said_once_when_it_begins_and_once_when_it_is_over(caplog):
    """With reason and count, in the log and as an event that every exporter gets."""
    worker, tally = Worker(), Tally()
    losses = Losses(worker.journal, {"azure": tally})
    losses(0.0)
    tally.drop("full", 2)
    losses(1.0)
    tally.drop("refused")
    losses(2.0)
    losses(QUIET)
    losses(2.0 + QUIET)
    losses(3.0 + QUIET)
    said = [
        "loss: azure: 2 requests dropped (2 full) so far",
        "loss ended: azure: 3 requests dropped (2 full, 1 refused) in all; none lately",
    ]
    assert [record.getMessage() for record in caplog.records] == said
    worker.wake()
    events = [record for record in worker.memory.records if isinstance(record, Event)]
    assert [f"{event.what}: {event.detail}" for event in events] == said


def test_what_was_dropped_before_is_no_news(caplog):
    """A journal that is adopted brings its counts along."""
    Losses(Worker().journal, {"azure": Tally(dropped={"full": 7})})(0.0)
    assert not caplog.records
