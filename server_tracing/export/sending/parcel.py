"""Records to deliver, and what became of those that are not among them any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import is_

from server_tracing.record import Record, Request

from .delivery import POISON, Verdict


def requests_in(records: Iterable[Record]) -> int:
    """How many of the records are requests: only they are in the accounts."""
    return sum(1 for record in records if type(record) is Request)


class Parcel:
    """Records to deliver, and how many of them were delivered and let go; `done` when none is left."""

    __slots__ = ("delivered", "done", "dropped", "failures", "moved", "records")

    def __init__(
        self, records: Sequence[Record] = (), delivered: int = 0, dropped: Mapping[str, int] = {}
    ) -> None:
        self.records = list(records)
        self.delivered = delivered
        self.dropped = dict(dropped)
        self.failures = 0  # attempts that ended in an exception that is not an ExportError
        self.moved = False  # was anything taken, refused, or cause for a bug: is there something to remember?
        self.done = False

    def book(self, verdict: Verdict) -> bool:
        """Count what one attempt came to; is there less left than before?"""
        total, left = requests_in(self.records), requests_in(verdict.remaining)
        gone = total - left
        for reason, count in ({verdict.reason: gone} if verdict.lost else verdict.refused).items():
            dropped = min(count, gone)
            self.drop(reason, dropped)
            gone -= dropped
        self.delivered += gone
        self.failures += verdict.unexpected
        untouched = len(verdict.remaining) == len(self.records) and all(
            map(is_, verdict.remaining, self.records)
        )  # of a record, too, a part may have been taken
        self.moved = self.moved or not untouched or verdict.unexpected
        self.records = list(verdict.remaining)
        if self.failures >= POISON:
            self.drop_rest("failed")
        self.done = self.done or not self.records
        return not untouched

    def drop(self, reason: str, count: int = 1) -> None:
        """Count requests that are let go."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def drop_rest(self, reason: str) -> None:
        """Let go of everything not delivered yet."""
        self.drop(reason, requests_in(self.records))
        self.records = []
        self.done = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.records)} records · {self.delivered} delivered>"
