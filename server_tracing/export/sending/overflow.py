"""The way to disk of what a backend does not take in time: batches into spool files of a handy size."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from .batch import Batch
from .spool import Spool

MAX_HELD = 2000  # records in memory; the oldest go to disk first
MAX_FILE = 1000  # records in one spool file, and one batch more
MAX_ROOM = 512 << 10  # bytes that the records in memory, or in one file, took in the journal


class Overflow:
    """Writes for one backend. Touched by the reader's thread alone."""

    def __init__(self, spool: Spool, *, may_spool: bool) -> None:
        self._spool = spool
        self._may_spool = may_spool
        self._written: list[str] = []  # parts to be published when the journals know of them

    def write(self, batches: Sequence[Batch], overtaken: Batch | None) -> list[Batch]:
        """Deal with all of them; those that cannot be written now are returned. `overtaken` is in the hand of
        the backend, and its file is kept from everybody until there is an answer."""
        return [
            batch for group in by_source(batches) if not self._to_disk(group, overtaken) for batch in group
        ]

    def _to_disk(self, group: Sequence[Batch], overtaken: Batch | None) -> bool:
        if not self._may_spool:
            for batch in group:
                batch.drop_rest("backlog")
            return True
        last, records = group[-1], [record for batch in group for record in batch.records]
        try:
            part = self._spool.write(records, last.source, last.upto)
        except OSError:
            return False
        self._written.append(part)
        if group[0] is overtaken:
            group[0].held = self._spool.hold(part)
        for batch in group:
            batch.spool_rest()
        return True

    def written(self) -> list[str]:
        """What was written since the last time."""
        written, self._written = self._written, []
        return written


def by_source(batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    """Runs of batches that may share a file: of one journal, and of no more than one worker takes at a time.

    The first stands alone: if it is in the hand of the backend, its file may have to be taken away again.
    """
    group: list[Batch] = []
    for batch in batches:
        large = _records(group) > MAX_FILE or _room(group) > MAX_ROOM
        if group and (large or group == batches[:1] or group[0].source != batch.source):
            yield group
            group = []
        group.append(batch)
    if group:
        yield group


def is_much(batches: Collection[Batch]) -> bool:
    """More than may be held in memory?"""
    return _records(batches) > MAX_HELD or _room(batches) > MAX_ROOM


def _records(batches: Iterable[Batch]) -> int:
    return sum(len(batch.records) for batch in batches)


def _room(batches: Iterable[Batch]) -> int:
    return sum(batch.room for batch in batches)
