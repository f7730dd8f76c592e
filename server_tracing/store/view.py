"""Reading the local store: requests newest first, counts and latencies, events, vitals, totals.

Every read is short: rows are fetched a page at a time and no cursor stays open, because a reader that waits
for its pager would keep the write-ahead log from being reused and let it grow without bound.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import count as counter
from typing import Any, NamedTuple

from msgspec import Struct, field

from server_tracing.record import Event, Request, WorkerVitals
from server_tracing.store import batch as batch
from server_tracing.store import file as store_file
from server_tracing.store.histogram import Histogram
from server_tracing.store.minutes import NAMES, OUTCOMES, UNKNOWN, Entry

PAGE = 32  # batches read in one go
END_OF_TIME = FOLDED = 2**62
MINUTE = 60_000_000  # microseconds

_ARRIVED = f"SELECT id, {batch.bounded('records')} FROM batches WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
_RECORDS = f"SELECT {batch.bounded('records')} FROM batches WHERE id = ?"  # noqa: S608 - constants
_COUNTS = f"SELECT {batch.bounded('counts')} FROM minutes WHERE minute >= ?"  # noqa: S608
_EVENTS = (
    f"SELECT {batch.bounded('record')} FROM events"  # noqa: S608
    " WHERE time >= ? ORDER BY time DESC, id DESC LIMIT ?"
)
_VITALS = f"SELECT source, {batch.bounded('record')} FROM vitals ORDER BY source, time"  # noqa: S608


class Filter(Struct, frozen=True, kw_only=True):
    """What to show; an empty one matches everything."""

    statuses: tuple[range, ...] = ()
    outcomes: frozenset[str] = frozenset()
    route: str = ""  # exact, or a glob
    path: str = ""  # a prefix, or a glob
    service: str = ""
    slower_ms: float = 0.0
    since: datetime | None = None
    trace: str = ""  # how the trace id begins

    def matches(self, request: Request) -> bool:
        return (
            (not self.since or request.start >= self.since)
            and request.duration_ms >= self.slower_ms
            and (not self.statuses or any((request.status or 0) in some for some in self.statuses))
            and (not self.outcomes or request.outcome in self.outcomes)
            and (not self.service or request.service == self.service)
            and (not self.route or _like(request.route or UNKNOWN, self.route))
            and (not self.path or _begins(request.path or "", self.path))
            and request.trace_id.startswith(self.trace)
        )


class Counted(Struct):
    """What was counted of one route: everything but the latencies is exact."""

    service: str
    method: str
    route: str
    count: int = 0
    errors: int = 0  # raised, killed, or answered with 5xx
    statuses: dict[int, int] = {}
    outcomes: dict[str, int] = {}
    latencies: Histogram = field(default_factory=Histogram)

    def add(self, entry: Entry) -> None:
        outcome = NAMES.get(entry.outcome, "ok")
        self.count += entry.count
        self.errors += entry.count if entry.status >= 500 or outcome in ("error", "killed") else 0
        self.statuses[entry.status] = self.statuses.get(entry.status, 0) + entry.count
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + entry.count
        self.latencies.merge(entry.buckets)


class Totals(NamedTuple):
    """What workers counted that are gone: `exporters[name][counter]`, and `dropped[name][reason]`."""

    workers: int
    exporters: dict[str, dict[str, int]]
    dropped: dict[str, dict[str, int]]


class View:
    """The questions a store answers; `connection` is closed by whoever opened it."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self.path = path
        self._file = store_file.identity(path)

    @property
    def stands(self) -> bool:
        """Is it still the file at its path? That may have been deleted, or set aside."""
        return store_file.identity(self.path) == self._file

    @classmethod
    def open(cls, path: str) -> View:
        return cls(store_file.read(path), path)

    def close(self) -> None:
        self._connection.close()

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise store_file.explain(self.path, error) from error

    # ------------------------------------------------------------ requests

    def query(self, wanted: Filter = Filter()) -> Iterator[Request]:  # noqa: B008 - frozen
        """Matching requests, newest first, read as they are asked for."""
        order = counter()
        waiting: list[tuple[float, int, Request]] = []
        for last, records in self._batches(wanted):
            # Batches come by their latest start: what began after that can not be preceded by anything.
            while waiting and -waiting[0][0] >= last:
                yield heapq.heappop(waiting)[2]
            for request in batch.unpack(records):
                if wanted.matches(request):
                    heapq.heappush(waiting, (-batch.microseconds(request.start), next(order), request))
        while waiting:
            yield heapq.heappop(waiting)[2]

    def arrivals(self, after: int) -> tuple[list[Request], int]:
        """What was stored since the mark `after`, and the next mark; for following."""
        rows = self._all(_ARRIVED, after, PAGE)
        found = [request for _, records in rows for request in batch.unpack(records)]
        return found, rows[-1][0] if rows else after

    def mark(self) -> int:
        """Where following begins."""
        return int(self._all("SELECT coalesce(max(id), 0) FROM batches")[0][0])

    def _batches(self, wanted: Filter) -> Iterator[tuple[int, bytes]]:
        """Batches that can hold a match, by the latest start in them."""
        only = self._holding(wanted.trace) if wanted.trace else None
        since = batch.microseconds(wanted.since) if wanted.since else 0
        statuses, outcomes = _masks(wanted)
        last, number = END_OF_TIME, END_OF_TIME
        while rows := self._all(
            "SELECT last, id FROM batches WHERE (last, id) < (?, ?) AND last >= ? AND slowest >= ?"
            " AND statuses & ? AND outcomes & ? ORDER BY last DESC, id DESC LIMIT ?",
            *(last, number, since, wanted.slower_ms, statuses, outcomes, PAGE),
        ):
            for last, number in rows:
                if only is None or number in only:
                    # One row may have been trimmed since.
                    for (records,) in self._all(_RECORDS, number):
                        yield last, records

    def _holding(self, prefix: str) -> set[int]:
        found: set[int] = set()
        first = -1
        while rows := self._all(
            "SELECT batch, keys FROM traces WHERE batch > ? ORDER BY batch LIMIT 1000", first
        ):
            found.update(number for number, keys in rows if batch.may_hold(keys, prefix))
            first = rows[-1][0]
        return found

    # ------------------------------------------------------------ counts

    def stats(self, wanted: Filter = Filter()) -> list[Counted]:  # noqa: B008 - frozen
        """Per route, the busiest first; to the minute, and by service and route only."""
        since = int(wanted.since.timestamp() // 60) if wanted.since else 0
        found: dict[tuple[str, str, str], Counted] = {}
        for (counts,) in self._all(_COUNTS, since):
            for entry in batch.unpack_minute(counts):
                if _chosen(wanted, entry.service, entry.route):
                    key = (entry.service, entry.method, entry.route)
                    found.setdefault(key, Counted(*key)).add(entry)
        return sorted(found.values(), key=lambda counted: -counted.count)

    def counted_since(self) -> datetime | None:
        """When the oldest minute that is still counted began, or the first worker in the middle of it."""
        (minute,) = self._all("SELECT min(minute) FROM minutes")[0]
        if minute is None:
            return None
        began, after = minute * MINUTE, (minute + 1) * MINUTE
        (boot,) = self._all("SELECT min(time) FROM events WHERE time >= ? AND time < ?", began, after)[0]
        return datetime.fromtimestamp((boot or began) / 1_000_000).astimezone()

    # ------------------------------------------------------------ workers

    def events(self, since: datetime | None = None, limit: int = 100) -> list[Event]:
        """What happened to workers, newest first."""
        start = batch.microseconds(since) if since else 0
        rows = self._all(_EVENTS, start, limit)
        return [event for (record,) in rows if (event := batch.unpack_event(record))]

    def vitals(self) -> dict[str, list[WorkerVitals]]:
        """By journal id, a worker's latest vitals, oldest first."""
        found: dict[str, list[WorkerVitals]] = {}
        for source, record in self._all(_VITALS):
            if vitals := batch.unpack_vitals(record):
                found.setdefault(source, []).append(vitals)
        return found

    def totals(self) -> Totals:
        """What the workers that are gone had counted, summed."""
        totals = Totals(0, {}, {})
        for exporter, counter_, reason, value in self._all(
            "SELECT exporter, counter, reason, value FROM totals"
        ):
            if not exporter:
                totals = totals._replace(workers=value)
            elif reason:
                totals.dropped.setdefault(exporter, {})[reason] = value
            else:
                totals.exporters.setdefault(exporter, {})[counter_] = value
        return totals

    def settled(self, sources: Iterable[str]) -> tuple[Totals, set[str]]:
        """The totals, and which of these sources are counted in them: as of one moment."""
        self._all("BEGIN")
        try:
            return self.totals(), {source for source in sources if self.acked(source) == FOLDED}
        finally:
            self._all("COMMIT")

    def acked(self, source: str) -> int:
        """The journal position up to which `source` is stored; endless once its worker is folded away."""
        rows = self._all("SELECT upto, folded FROM sources WHERE source = ?", source)
        if not rows:
            return 0
        upto, folded = rows[0]
        return FOLDED if folded else int(upto)


def _masks(wanted: Filter) -> tuple[int, int]:
    """Which batches can match, as bits of their columns."""
    classes = {batch.status_class(status) for some in wanted.statuses for status in some}
    outcomes = {OUTCOMES[name] for name in wanted.outcomes if name in OUTCOMES}
    return batch.bits(classes) or -1, batch.bits(outcomes) or -1


def _chosen(wanted: Filter, service: str, route: str) -> bool:
    right_service = not wanted.service or service == wanted.service
    return right_service and (not wanted.route or _like(route, wanted.route))


def _like(value: str, pattern: str) -> bool:
    """`<int:id>` and `{id}` are plain text here; only `*` and `?` are not."""
    return value == pattern or fnmatchcase(value, pattern.replace("[", "[[]"))


def _begins(path: str, pattern: str) -> bool:
    glob = "*" in pattern or "?" in pattern
    return _like(path, pattern) if glob else path.startswith(pattern)
