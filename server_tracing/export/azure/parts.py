"""The items that records become, and what of each record is still to be delivered."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from server_tracing.record import Record, Request


class Parts:
    """The items of some records, in order.

    A request is lost when the item of the request itself is; of what hangs below it, and of a worker's
    metrics, single items may be.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._firsts: list[int] = []  # of each record, where its items begin
        self._chosen: dict[int, list[int]] = {}  # the places of a record's items, where some are left out
        self._gone: dict[int, str] = {}  # requests that are lost, and why
        self.items: list[bytes] = []

    def add(self, items: Iterable[bytes]) -> None:
        """All items of the next record."""
        self._firsts.append(len(self.items))
        self.items += items

    def add_some(self, items: Mapping[int, bytes]) -> None:
        """Some items of the next record, by their places among all of its."""
        self._chosen[len(self._firsts)] = list(items)
        self.add(items.values())

    def lose(self, reason: str) -> None:
        """The next record has no items and will never be delivered."""
        if type(self._records[len(self._firsts)]) is Request:
            self._gone[len(self._firsts)] = reason
        self.add(())

    def refuse(self, reasons: Mapping[int, str]) -> None:
        """These items will never be taken."""
        for item, reason in reasons.items():
            record, place = self._owner(item)
            if place == 0 and type(self._records[record]) is Request:
                self._gone[record] = reason

    @property
    def lost(self) -> Counter[str]:
        """Requests that will never be delivered, by reason."""
        return Counter(self._gone.values())

    def remaining(self, later: frozenset[int]) -> list[Record]:
        """The records these items are of, each with what is left of it."""
        left: dict[int, list[int]] = {}
        for item in sorted(later):
            record, place = self._owner(item)
            if record not in self._gone:
                left.setdefault(record, []).append(place)
        return [self._part(record, places) for record, places in left.items()]

    def _owner(self, item: int) -> tuple[int, int]:
        """The record of an item, and the item's place among all of that one's."""
        record = bisect_right(self._firsts, item) - 1
        place = item - self._firsts[record]
        return record, self._chosen[record][place] if record in self._chosen else place

    def _part(self, number: int, places: list[int]) -> Record:
        ends = [*self._firsts[number + 1 :][:1], len(self.items)]
        record = self._records[number]
        whole = number not in self._chosen and len(places) == ends[0] - self._firsts[number]
        return record if whole or not hasattr(record, "unsent") else structs.replace(record, unsent=places)
