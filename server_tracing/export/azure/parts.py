"""The items that records become, and what of each record is still to be delivered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import structs

from server_tracing.record import Record, Request


class Parts:
    """The items of some records.

    A request is lost when the item of the request itself is; of what hangs below it, and of a worker's
    metrics, single items may be.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._owners: list[tuple[int, int]] = []  # of each item: its record, its place among that one's items
        self._gone: dict[int, str] = {}  # requests that are lost, and why
        self.items: list[bytes] = []

    def add(self, record: int, place: int, item: bytes) -> None:
        """One more item."""
        self.items.append(item)
        self._owners.append((record, place))

    def lose(self, record: int, reason: str) -> None:
        """This request will never be delivered."""
        if type(self._records[record]) is Request:
            self._gone[record] = reason

    def refuse(self, reasons: Mapping[int, str]) -> None:
        """These items will never be taken."""
        for item, reason in reasons.items():
            record, place = self._owners[item]
            if place == 0:
                self.lose(record, reason)

    @property
    def lost(self) -> Counter[str]:
        """Requests that will never be delivered, by reason."""
        return Counter(self._gone.values())

    def remaining(self, later: frozenset[int]) -> list[Record]:
        """The records these items are of, each with what is left of it."""
        left: dict[int, list[int]] = {}
        for item in sorted(later):
            record, place = self._owners[item]
            if record not in self._gone:
                left.setdefault(record, []).append(place)
        sizes = Counter(record for record, _ in self._owners)
        return [self._part(record, places, sizes[record]) for record, places in left.items()]

    def _part(self, number: int, places: list[int], of: int) -> Record:
        record = self._records[number]
        if len(places) == of or not hasattr(record, "unsent"):
            return record
        return structs.replace(record, unsent=places)
