"""The local store: every request of this host for a while, in one SQLite file that needs no account.

Workers append batches, each in one short transaction that also says how far their journal is now stored: a
batch is in the store exactly once, whoever dies when. It is bounded by size and age, by removing the oldest
few batches with every append; pages are reused, the file is never rewritten. One Store belongs to one
process, and one thread at a time. Whatever goes wrong is a StoreError with a reason to count it by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from server_tracing.record import Event, Record, Request, WorkerVitals
from server_tracing.store import batch as batch
from server_tracing.store import minutes as minutes
from server_tracing.store.file import FILE, StoreError
from server_tracing.store.view import FOLDED, Counted, Filter, Totals, View
from server_tracing.store.writer import Writer

__all__ = ["FILE", "Counted", "Filter", "Store", "StoreError", "Totals", "View"]

PER_BATCH = 256  # records
COUNTS_OUTLIVE = 8  # counts are kept so many times as long as the records, when size is what bounds them
VITALS_KEPT = 40  # per worker: ten minutes
EVENTS_KEPT = 10_000
SOURCES_KEPT = 7 * 86_400  # seconds a journal is remembered after its last word, in case it turns up again
AT_ONCE = 64  # batches trimmed at once, at most
TRIM_EVERY = 4  # appends of one process
MAKE_ROOM = 4  # times what was added is removed while there is too much
SUMMED = {"seen", "excluded", "unsampled", "delivered", "spooled"}  # of a ledger's tally; and `dropped`

_INSERT = (
    "INSERT INTO batches (first, last, slowest, statuses, outcomes, size, records) VALUES (?,?,?,?,?,?,?)"
)
_SIZE = (
    "SELECT (page_count - freelist_count) * page_size"
    " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
# The newest id stays in any case: followers count on ids that only grow.
_TRIM_OLD = (
    "DELETE FROM batches WHERE id IN (SELECT id FROM batches"
    " WHERE last < ? AND id < (SELECT max(id) FROM batches) ORDER BY last, id LIMIT ?)"
)
_TRIM_MUCH = (
    "DELETE FROM batches WHERE id IN (SELECT id FROM"
    " (SELECT id, size, sum(size) OVER (ORDER BY last, id) AS sum FROM"
    " (SELECT id, size, last FROM batches"
    " WHERE id < (SELECT max(id) FROM batches) ORDER BY last, id LIMIT ?))"
    " WHERE sum - size < ?)"
)
_COUNTS = f"SELECT {batch.bounded('counts')} FROM minutes WHERE minute = ?"  # noqa: S608 - a constant
_FORGET_VITALS = (
    "DELETE FROM vitals WHERE source = ? AND time <="
    " (SELECT time FROM vitals WHERE source = ? ORDER BY time DESC LIMIT 1 OFFSET ?)"
)
_ACK = (
    "INSERT INTO sources (source, upto, time) VALUES (?,?,?)"
    " ON CONFLICT (source) DO UPDATE SET upto = excluded.upto, time = excluded.time"
)
_FOLD = (
    "INSERT INTO sources VALUES (?, 0, 1, ?)"
    " ON CONFLICT (source) DO UPDATE SET folded = 1, time = excluded.time"
)
_TOTAL = (
    "INSERT INTO totals VALUES (?,?,?,?)"
    " ON CONFLICT (exporter, counter, reason) DO UPDATE SET value = value + excluded.value"
)


class Store(Writer):
    """One process's way into the store, to write and to ask."""

    def __init__(
        self,
        path: str,
        max_size: int = 256 << 20,
        retention: float = 86_400.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.max_size = max_size
        self.retention = retention
        self._clock = clock
        super().__init__(path)
        self._swept = 0  # the minute in which rows were last removed for their age
        self._appends = 0
        self._added = 0  # bytes since batches were last trimmed

    def append(self, records: Sequence[Record], source: str, upto: int) -> int:
        """Store what `source` said between its acked position and `upto`, unless that is known.

        Returns how many records cannot be stored by anybody, which is a bug of whoever made them.
        """
        # All that can be done before the lock is, because others wait for it.
        requests, packed = _packed([record for record in records if type(record) is Request])
        counted = minutes.count(requests)
        events = batch.encodable(record for record in records if type(record) is Event)
        vitals = batch.encodable(record for record in records if type(record) is WorkerVitals)

        def work() -> None:
            if self.acked(source) >= upto:
                return
            self._add_batches(packed)
            self._count(counted)
            self._add_events(events)
            self._add_vitals(vitals, source)
            self._run(_ACK, source, upto, int(self._clock()))
            self._trim(sum(len(one.records) for one in packed))

        self._write(work)
        return len(records) - len(requests) - len(events) - len(vitals)

    def fold(self, source: str, counts: object) -> None:
        """Add a finished worker's counts (a `ledger.Checkpoint`) to the totals, once for its journal."""
        counted = msgspec.to_builtins(counts)

        def work() -> None:
            if self.acked(source) == FOLDED:
                return
            self._run(_FOLD, source, int(self._clock()))
            self._run(_TOTAL, "", "workers", "", 1)
            own = {name: counted.get(name, 0) for name in ("seen", "excluded")}
            for exporter, tally in counted.get("exporters", {}).items():
                self._add_totals(exporter, {**tally, **own})

        self._write(work)

    def settle(self, exporter: str, counts: Mapping[str, Any]) -> None:
        """Add counts that belong to no journal any more: what a spool delivered or let go."""
        self._write(lambda: self._add_totals(exporter, counts))

    def __repr__(self) -> str:
        return f"<Store {self.path} · at most {self.max_size >> 20} MiB and {self.retention / 3600:g} h>"

    # ------------------------------------------------------------ rows

    def _add_batches(self, packed: Sequence[batch.Batch]) -> None:
        for one in packed:
            number = self._run(_INSERT, *one.row).lastrowid
            self._run("INSERT INTO traces VALUES (?,?)", number, one.keys)

    def _count(self, counted: Mapping[int, minutes.Minute]) -> None:
        for minute, more in counted.items():
            rows = self._all(_COUNTS, minute)
            known = batch.unpack_minute(rows[0][0]) if rows else []
            self._run("INSERT OR REPLACE INTO minutes VALUES (?,?)", minute, minutes.merge(known, more))

    def _add_events(self, events: Sequence[Event]) -> None:
        for event in events:
            row = (batch.microseconds(event.time), batch.pack_one(event))
            self._run("INSERT INTO events (time, record) VALUES (?,?)", *row)
        if events:
            self._run("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", EVENTS_KEPT)

    def _add_vitals(self, vitals: Sequence[WorkerVitals], source: str) -> None:
        for one in vitals:
            row = (source, batch.microseconds(one.time), batch.pack_one(one))
            self._run("INSERT OR REPLACE INTO vitals VALUES (?,?,?)", *row)
        if vitals:
            self._run(_FORGET_VITALS, source, source, VITALS_KEPT)

    def _add_totals(self, exporter: str, counts: Mapping[str, Any]) -> None:
        for counter in SUMMED & counts.keys():
            self._run(_TOTAL, exporter, counter, "", counts[counter])
        for reason, count in counts.get("dropped", {}).items():
            self._run(_TOTAL, exporter, "dropped", reason, count)

    # ------------------------------------------------------------ bounds

    def _trim(self, added: int) -> None:
        """Remove a little of what is too old, and a little more than was added of what is too much."""
        now, self._added = self._clock(), self._added + added
        self._appends += 1
        new_minute = self._swept != int(now // 60)
        if self._appends % TRIM_EVERY != 1 and not new_minute:
            return
        self._run(_TRIM_OLD, int((now - self.retention) * 1e6), AT_ONCE)
        if self.size() > self.max_size:
            self._run(_TRIM_MUCH, AT_ONCE, MAKE_ROOM * self._added)
            self._trim_counts(now)
        self._added = 0
        if new_minute:
            self._swept = int(now // 60)
            self._sweep(now)

    def size(self) -> int:
        """The bytes in use; the file keeps its size, and what is free in it is used again."""
        return int(self._all(_SIZE)[0][0])

    def _trim_counts(self, now: float) -> None:
        """Counts go by age alone, unless records go for size: they must not become the bigger part."""
        ((oldest,),) = self._all("SELECT min(last) FROM batches")
        kept = COUNTS_OUTLIVE * max(60.0, now - oldest / 1e6)
        self._run("DELETE FROM minutes WHERE minute < ?", int((now - kept) // 60))

    def _sweep(self, now: float) -> None:
        old = now - self.retention
        self._run("DELETE FROM minutes WHERE minute < ?", int(old // 60))
        self._run("DELETE FROM events WHERE time < ?", int(old * 1e6))
        self._run("DELETE FROM vitals WHERE time < ?", int(old * 1e6))
        self._run("DELETE FROM sources WHERE time < ?", int(now - SOURCES_KEPT))


def _packed(requests: list[Request]) -> tuple[list[Request], list[batch.Batch]]:
    """Those that can be stored, and the batches they make."""
    try:
        return requests, _batches(requests)
    except Exception:  # noqa: BLE001 - a bug of whoever made one of them must not cost the others
        kept = batch.encodable(requests)
        return kept, _batches(kept)


def _batches(requests: list[Request]) -> list[batch.Batch]:
    slices = (requests[start : start + PER_BATCH] for start in range(0, len(requests), PER_BATCH))
    return [packed for some in slices for packed in batch.pack_all(some)]
