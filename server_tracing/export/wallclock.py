"""The wall clock, watched: it may be set, and goes on while a machine sleeps; the monotonic one does neither.

Stamps are monotonic, so no duration can be wrong. What they mean in wall time was read once, when the worker
started: a step is marked in the journal, and whoever reads on from there reads stamps by the new time. Trace
ids keep the time they were made by.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from server_tracing.journal import Journal
from server_tracing.record import Kind, Mark

CLOCK = "clock"  # what the mark is called; its detail is the step, in seconds
EVERY = 1.0  # seconds between looks
LEAST = 0.1  # seconds that are a step; less is drift, of which both clocks know
MOST = 100 * 365 * 86400.0  # seconds; from 1970 to today, say, and back
_encode = msgspec.msgpack.Encoder().encode


class WallClock:
    """A chore of the reader."""

    def __init__(
        self,
        journal: Journal,
        *,
        wall: Callable[[], int] = lambda: time.time_ns(),
        monotonic: Callable[[], int] = lambda: time.monotonic_ns(),
    ) -> None:
        self._journal = journal
        self._wall = wall
        self._monotonic = monotonic
        self._offset = journal.origin.wall - journal.origin.monotonic
        self._next = 0.0

    def __call__(self, now: float) -> None:
        if now < self._next:
            return
        self._next = now + EVERY
        stamp = self._monotonic()
        step = round((self._wall() - stamp - self._offset) / 1e9, 3)
        if abs(step) >= LEAST and self._journal.append(
            Kind.MARK, _encode(Mark(stamp, CLOCK, f"{step:+.3f} s"))
        ):
            self._offset += nanoseconds(step)


def stepped(mark: Mark) -> int:
    """By how many nanoseconds the wall clock was set, if that is what the mark says and it can be."""
    step = float(mark.detail.removesuffix(" s")) if mark.what == CLOCK else 0.0
    if abs(step) > MOST:
        raise ValueError(f"a clock is not set by {step} s")
    return nanoseconds(step)


def nanoseconds(seconds: float) -> int:
    """The same everywhere, so that who marks a step and who reads it mean the same."""
    return round(seconds * 1000) * 1_000_000
