"""Journals that were damaged on their disk: never a crash, never a wrong record, and the loss is counted."""

from __future__ import annotations

import random

import msgspec
import pytest
from dead_worker import ANSWERED, LOST, OPEN, heir_of, image
from report import report, size

from server_tracing.export.batch import requests_in
from server_tracing.journal.ledger import Checkpoint
from server_tracing.record import Request

SEEN = ANSWERED + OPEN + LOST
BEGUN = ANSWERED + OPEN


@pytest.fixture(scope="module")
def whole() -> bytes:
    return image()


@pytest.fixture(scope="module")
def truth(whole) -> dict[str, bytes]:
    """What an undamaged journal gives, by span id."""
    requests, checkpoint, gaps = heir_of(whole)
    assert (len(requests), checkpoint.seen, gaps) == (BEGUN, SEEN, 0)
    assert checkpoint.exporters["memory"].dropped == {"full": LOST}
    return {request.span_id: msgspec.json.encode(request) for request in requests}


def written(content: bytes) -> list[int]:
    """Every place that the worker or its reader wrote to."""
    return [place for place, byte in enumerate(content) if byte]


def assert_true_and_counted(requests: list[Request], checkpoint: Checkpoint, truth: dict[str, bytes]) -> None:
    """Each record is one of the truth's, none comes twice, and those that are missing are counted."""
    told = [request.span_id for request in requests]
    assert len(set(told)) == len(told)
    for request in requests:
        assert msgspec.json.encode(request) == truth[request.span_id], request
    tally = checkpoint.exporters["memory"]
    dropped = sum(tally.dropped.values())
    assert tally.delivered == len(told) == requests_in(requests)
    assert checkpoint.seen == SEEN, checkpoint
    assert tally.delivered + dropped == checkpoint.seen, checkpoint


def test_any_bit_flipped_costs_what_it_is_in_and_no_more(whole, truth):
    """Wherever it is: header, words, checkpoints, or any frame that had been read."""
    dice, lost, places = random.Random(4), 0, written(whole)
    flips = [(place, bit) for place in places for bit in size((dice.randrange(8),), tuple(range(8)))]
    for place, bit in flips[:: size(3, 1)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        requests, checkpoint, _ = heir_of(bytes(damaged))
        assert_true_and_counted(requests, checkpoint, truth)
        assert len(requests) >= BEGUN - OPEN - 1, (place, bit)  # those open may have ended in the gap
        lost += BEGUN - len(requests)
    assert lost
    report("a bit flipped in a dead worker's journal", requests=SEEN * len(flips), dropped=lost)
