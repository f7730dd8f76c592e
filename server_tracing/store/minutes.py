"""Exact counts and latencies: one row of the store per minute, with an entry per service, route and result.

Everything here is pure. A minute is one blob, read and written whole: two statements however many routes a
batch touches. A row per route and bucket is kinder to SQL, but each statement gives up the interpreter's
lock, and beside a busy thread each costs up to 5 ms to get it back, with the store locked meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

import msgspec
from msgspec import Struct

from server_tracing.record import Outcome, Request
from server_tracing.store.histogram import bucket

PER_MINUTE = 500  # entries: routes come from clients where no framework is known; the rest is OTHER
OTHER = "(other)"
UNKNOWN = "(unknown)"  # the route of a request that was refused before it had a path

NEVER = datetime.max.replace(tzinfo=timezone.utc)
OUTCOMES = {outcome.name.lower(): int(outcome) for outcome in Outcome}
NAMES = {number: name for name, number in OUTCOMES.items()}


# What requests of a minute are counted by: service, route, method, status (0: none was sent), outcome.
# A plain tuple, because each request makes one.
Series = tuple[str, str, str, int, int]


class Counts(Struct):
    """How many, and the latencies of those that have one, by bucket."""

    count: int = 0
    buckets: dict[int, int] = {}

    def add(self, count: int, buckets: dict[int, int]) -> None:
        self.count += count
        for number, more in buckets.items():
            self.buckets[number] = self.buckets.get(number, 0) + more


class Entry(Struct, array_like=True):
    """As stored; fields are added at the end only."""

    service: str
    route: str
    method: str
    status: int
    outcome: int
    count: int
    buckets: dict[int, int]


Minute = dict[Series, Counts]
_encoder = msgspec.msgpack.Encoder()
_entries = msgspec.msgpack.Decoder(list[Entry])


def count(requests: Iterable[Request]) -> dict[int, Minute]:
    """By the minute in which they began."""
    minutes: dict[int, Minute] = {}
    begins = ends = NEVER  # of the minute in hand: comparing is a fourth of computing
    counted: Minute = {}
    for request in requests:
        if not begins <= request.start <= ends:
            number = int(request.start.timestamp()) // 60
            begins = datetime.fromtimestamp(number * 60, timezone.utc)
            ends = begins.replace(second=59, microsecond=999_999)
            counted = minutes.setdefault(number, {})
        series = series_of(request)
        counts = counted.get(series)
        if counts is None:
            counts = counted[series] = Counts()
        counts.count += 1
        if has_latency(request):
            place = bucket(request.duration_ms)
            counts.buckets[place] = counts.buckets.get(place, 0) + 1
    return minutes


def merge(known: Iterable[Entry], more: Minute) -> bytes:
    """A minute with `more` in it, as stored."""
    merged: Minute = {_key(entry): Counts(entry.count, entry.buckets) for entry in known}
    for series, counts in more.items():
        if series not in merged and len(merged) >= PER_MINUTE:
            service, _, _, status, outcome = series
            series = (service, OTHER, "", status, outcome)
        merged.setdefault(series, Counts()).add(counts.count, counts.buckets)
    return _encoder.encode([(*series, counts.count, counts.buckets) for series, counts in merged.items()])


def unpack(blob: bytes) -> list[Entry]:
    """May raise anything: a store is a file like any other."""
    return _entries.decode(blob)


def series_of(request: Request) -> Series:
    return (
        request.service,
        request.route or UNKNOWN,
        request.method or "",
        request.status or 0,
        OUTCOMES.get(request.outcome, 0),
    )


def has_latency(request: Request) -> bool:
    """Not a WebSocket or event stream, which lasts as long as its client likes, nor what was killed."""
    return (
        request.scheme not in ("ws", "wss")
        and not request.event_stream
        and request.outcome not in ("killed", "running")
    )


def _key(entry: Entry) -> Series:
    return entry.service, entry.route, entry.method, entry.status, entry.outcome
