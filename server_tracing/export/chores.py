"""What the reader does beside reading, at every wake or every so often; each is called with the time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import msgspec

from server_tracing.journal import Journal
from server_tracing.journal.journals import Journals
from server_tracing.record import Counts, Head, Kind, Mark
from server_tracing.record import Vitals as Reading

from .join import Joiner
from .pace import Pace
from .stuck.in_flight import InFlight
from .trail import Trail
from .vitals import Gauge

VITALS_EVERY = 15.0
SLACK_NS = 1_000_000_000  # that a window may close early: wakes are not exact
HEADS_EVERY = 0.1
HOME_EVERY = 5.0
log = logging.getLogger("server_tracing.export")
_encode = msgspec.msgpack.Encoder().encode


class Heads:
    """Writes down that a response has begun, of requests that do not end soon after: should the worker be
    killed, the record has its status."""

    def __init__(self, flying: InFlight, pace: Pace) -> None:
        self._flying = flying
        self._pace = pace
        self._next = 0.0

    def __call__(self, now: float) -> None:
        if now < self._next:
            return
        self._next = now + HEADS_EVERY
        for slot in self._flying.beginning_to_answer():
            self._flying.tell_head(Head(slot.number, slot.first_byte, slot.status))
            self._pace.breathe()


class Carrier:
    """Moves the begins of open requests to the front of the ring before they pin more than a quarter of it.

    What is carried may take a quarter of the ring at most. Requests beyond that are kept in memory alone,
    counted in `afloat`: they are recorded as any other, unless this very worker is killed.
    """

    def __init__(self, journal: Journal, joiner: Joiner, read_to: Callable[[], int]) -> None:
        self._journal = journal
        self._joiner = joiner
        self._read_to = read_to
        self.afloat = 0

    def __call__(self, _now: float) -> None:
        horizon = self._journal.head - self._journal.size // 4
        oldest = next(iter(self._joiner.open.values()), None)
        if oldest is None or oldest.pin > horizon:
            return
        # Those that will be in the way next, too: moving them together lets the tail go far at once. But none
        # whose end may simply not have been read yet, because we are behind.
        soon = self._read_to() - self._journal.size // 8
        self._carry([trail for trail in self._joiner.open.values() if trail.pin < soon])

    def _carry(self, trails: Sequence[Trail]) -> None:
        room = self._journal.size // 4
        for trail in trails:
            if self._joiner.moving(trail):
                continue
            begin, *rest = self._joiner.carry(trail)
            room -= sum(len(payload) + 16 for _, payload in (begin, *rest))
            if room < 0 or not self._journal.append(*begin):
                self._joiner.carry_failed(trail)
                self._joiner.float_off(trail)
                self.afloat += 1
            else:
                for kind, payload in rest:
                    self._journal.append(kind, payload)


class Home:
    """Sees that the worker's journal stands where others find it, and says what is wrong with journals."""

    def __init__(
        self, journal: Journal, journals: Journals, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._journal = journal
        self._journals = journals
        self._clock = clock
        self._next = 0.0

    def __call__(self, now: float) -> None:
        if now >= self._next:
            self._next = now + HOME_EVERY
            self._journals.keep(self._journal)
        for note in self._journals.take_notes():
            log.warning("%s", note)
            self._journal.append(Kind.MARK, _encode(Mark(self._clock(), "journal", note)))


class Vitals:
    """Writes the worker's vitals into the journal, from where they go to every exporter. Every so often they
    close a `window` (seconds; 0: never) and tell what ended in it; each such frame stands for itself, so that
    whoever delivers it needs to know no other one."""

    def __init__(
        self,
        journal: Journal,
        joiner: Joiner,
        counts: Callable[[], Counts] = Counts,
        window: float = 0.0,
        make_gauge: Callable[[], Gauge] = Gauge,
    ) -> None:
        self._journal = journal
        self._joiner = joiner
        self._counts = counts
        self._window = int(window * 1e9)
        self._make_gauge = make_gauge
        self._gauge: Gauge | None = None
        self._next = 0.0
        self._told = Counts()
        self._told_until = 0

    def begin(self) -> None:
        """Write the first, before there is any request: it may be the last one of this worker."""
        self(time.monotonic())

    def __call__(self, now: float) -> None:
        if now >= self._next:
            self._next = now + min(VITALS_EVERY, self._window / 1e9 or VITALS_EVERY)
            vitals = self._read()
            self._told_until = self._told_until or vitals.stamp
            self._write(vitals, closing=vitals.stamp - self._told_until >= self._window - SLACK_NS)

    def finish(self, _now: float) -> None:
        """The worker ends: close the window, if anything ended in it."""
        if self._gauge is not None and self._counts() != self._told:
            self._write(self._read(), closing=True)

    def _read(self) -> Reading:
        if self._gauge is None:
            self._gauge = self._make_gauge()
        return self._gauge.read(self._joiner.in_flight, self._joiner.ended)

    def _write(self, vitals: Reading, *, closing: bool) -> None:
        vitals.told, vitals.told_until = self._told, self._told_until
        if closing and self._window and vitals.stamp > self._told_until:
            vitals.told, vitals.told_until = self._counts(), vitals.stamp
            vitals.window, vitals.counts = vitals.stamp - self._told_until, vitals.told - self._told
        if self._journal.append(Kind.VITALS, _encode(vitals)):
            self._told, self._told_until = vitals.told, vitals.told_until
