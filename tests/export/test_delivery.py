"""Attempts and pauses: what an exporter says is understood, and nobody is hammered."""

from __future__ import annotations

import pytest
from export_kit import record

from server_tracing.export.exporter import ExportError
from server_tracing.export.sending.delivery import POISON, BackOff, Verdict, attempt
from server_tracing.export.sending.parcel import Parcel

RECORDS = [record(number) for number in range(4)]


def outcome(error: BaseException | None) -> Parcel:
    """What a parcel of four comes to after one attempt that ends so."""

    def export(records):
        if error is not None:
            raise error

    parcel = Parcel(RECORDS)
    parcel.book(attempt(export, parcel.records))
    return parcel


@pytest.mark.parametrize(
    ("error", "delivered", "dropped", "left"),
    [
        (None, 4, {}, 0),
        (ExportError("later"), 0, {}, 4),
        (ExportError("never", permanent=True, reason="bad"), 0, {"bad": 4}, 0),
        (ExportError("some", remaining=RECORDS[:1]), 3, {}, 1),
        (ExportError("some", remaining=RECORDS[:1], refused=2, reason="bad"), 1, {"bad": 2}, 1),
        (ExportError("some", remaining=[], refused=1, reason="bad"), 3, {"bad": 1}, 0),
        (ExportError("some", remaining=[], refused=99, reason="bad"), 0, {"bad": 4}, 0),
        (ExportError("some", remaining=RECORDS[:1], refused={"a": 1, "b": 1}), 1, {"a": 1, "b": 1}, 1),
        (ExportError("some", remaining=[], refused={"a": 3, "b": 9}), 0, {"a": 3, "b": 1}, 0),
        (ExportError("some", remaining=RECORDS[:1], permanent=True, reason="bad"), 3, {"bad": 1}, 0),
        (RuntimeError("a bug"), 0, {}, 4),
        (MemoryError(), 0, {}, 4),
        (SystemExit(1), 0, {}, 4),
    ],
)
def test_every_answer_adds_up(error, delivered, dropped, left):
    """Delivered, dropped and left are always the four there were."""
    parcel = outcome(error)
    assert (parcel.delivered, parcel.dropped, len(parcel.records)) == (delivered, dropped, left)
    assert parcel.delivered + sum(parcel.dropped.values()) + len(parcel.records) == 4
    assert parcel.done is (left == 0)


def test_a_poisonous_parcel_is_given_up():
    """After so many attempts that end in a bug."""
    parcel = Parcel(RECORDS)
    for _ in range(POISON):
        assert not parcel.done
        parcel.book(Verdict(parcel.records, error=ExportError("bug"), unexpected=True))
    assert parcel.done
    assert parcel.dropped == {"failed": 4}


def test_pauses_double_up_to_a_limit_and_are_drawn_from_zero_on():
    """Full jitter: workers that lost a backend together do not come back together."""
    back_off = BackOff(first=1, limit=8, draw=lambda: 1.0)
    assert [back_off.failed() for _ in range(6)] == [1, 2, 4, 8, 8, 8]
    back_off.succeeded()
    assert back_off.failed() == 1
    assert BackOff(draw=lambda: 0.0).failed() == 0


def test_nobody_comes_back_earlier_than_asked_to():
    """And nobody waits for ever because a backend said so."""
    back_off = BackOff(first=1, longest=3600, draw=lambda: 0.5)
    assert back_off.failed(retry_after=60) == 60.5
    assert back_off.failed(retry_after=1e9) == 3601
    assert back_off.failed(retry_after=-5) == 2


def test_reprs_say_how_things_are():
    """How often it failed; what is left."""
    back_off = BackOff()
    back_off.failed()
    assert repr(back_off) == "<BackOff after 1 failures>"
    assert repr(Parcel(RECORDS)) == "<Parcel of 4 records · 0 delivered>"
