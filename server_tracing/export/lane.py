"""A lane: one exporter's share of one journal. What waits for it, in order, and what it has acknowledged.

`acked` moves over whole batches and in order, and the counts move with it, so that a checkpoint is always
exact: whoever reads the journal after a crash repeats what stands behind `acked`, and nothing else.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from server_tracing.journal.ledger import Tally
from server_tracing.record import Record, Request

from .exporter import Traits
from .sending.batch import Batch

LARGE = 256 << 10  # bytes in the journal after which a batch is full, however few records they were


class Outlet(Protocol):
    """Where sealed batches go: a sender with a thread of its own, or an exporter that the reader calls."""

    name: str
    traits: Traits

    def offer(self, batch: Batch) -> None:
        """Take a batch; it is `done` when it has been dealt with."""

    def stored(self, source: str) -> int:
        """How far the exporter itself remembers to have stored `source`; 0 if it remembers nothing."""


class Lane:
    """One exporter's share of the journal `source`."""

    def __init__(self, source: str, outlet: Outlet, tally: Tally, stored: int = 0) -> None:
        self.source = source
        self.outlet = outlet
        self.tally = tally
        self._traits = outlet.traits
        self._sampled_only = outlet.traits.sampled_only
        self._stored = stored  # what the exporter remembers to have, beyond what was counted
        self._batch: Batch | None = None
        self._handed_out: deque[Batch] = deque()
        self._read = tally.acked
        self._since = tally.acked  # where the batch begins
        tally.queued = 0

    @property
    def idle(self) -> bool:
        """Has everything that was read been dealt with?"""
        return self._batch is None and not self._handed_out

    # ------------------------------------------------------------ filling

    def take(self, record: Record, position: int, pin: int, now: float) -> None:
        """A record whose end stands at `position`, and which needs the ring from `pin` on."""
        if position < self.tally.acked:
            return
        batch = self._batch
        if batch is None or pin < batch.floor:
            batch = self._filling(pin, now)
        if type(record) is Request:
            batch.size += 1
            self.tally.queued += 1
            if self._sampled_only and not record.sampled:
                batch.unsampled += 1
                return
        if position >= self._stored:
            batch.records.append(record)
        elif type(record) is Request:
            batch.delivered += 1  # the exporter has it; only the count was lost with the worker

    def lose(self, reason: str, position: int, now: float) -> None:
        """A request of which there is no record."""
        if position >= self.tally.acked:
            batch = self._filling(position, now)
            batch.size += 1
            self.tally.queued += 1
            batch.drop(reason)

    def _filling(self, pin: int, now: float) -> Batch:
        batch = self._batch
        if batch is None:
            batch = self._batch = Batch(self.source, pin, now)
            self._since = self._read
        elif pin < batch.floor:
            batch.floor = pin
        return batch

    # ------------------------------------------------------------ handing out

    def advance(self, position: int, now: float, *, flush: bool = False) -> None:
        """Everything before `position` has been read: hand out what is full or has waited long enough."""
        self._read = position
        batch = self._batch
        if batch is None:
            return
        kept = len(batch.records)
        batch.room = (position - self._since) * kept // max(1, kept, batch.size)
        full = kept >= self._traits.max_batch or batch.room >= LARGE
        if flush or full or now - batch.born >= self._traits.max_age:
            self._batch = None
            batch.upto = position
            self._handed_out.append(batch)
            if batch.records:
                self.outlet.offer(batch)
            else:
                batch.done = True

    def settle(self) -> None:
        """Count what is done, in order."""
        while self._handed_out and self._handed_out[0].done:
            self._count(self._handed_out.popleft())
        if self.idle:
            self.tally.acked = max(self.tally.acked, self._read)

    def _count(self, batch: Batch) -> None:
        tally = self.tally
        tally.acked = max(tally.acked, batch.upto)
        tally.queued -= batch.size
        tally.delivered += batch.delivered
        tally.unsampled += batch.unsampled
        tally.spooled += batch.spooled
        for reason, count in batch.dropped.items():
            tally.drop(reason, count)

    def give_up(self) -> None:
        """Wait for nothing any more."""
        self._batch = None
        self._handed_out.clear()

    def floor(self, position: int) -> int:
        """How far the tail may go towards `position` as far as this exporter is concerned."""
        position = min(position, self.tally.acked)
        for batch in self._handed_out:
            position = min(position, batch.floor)
        return position if self._batch is None else min(position, self._batch.floor)

    def __repr__(self) -> str:
        return (
            f"<Lane {self.source} to {self.outlet.name} · {self.tally.queued} queued ·"
            f" {self.tally.delivered} delivered · acked {self.tally.acked}>"
        )
