"""Records on their way from one journal to one exporter.

A batch is made and counted by the reader. While a sender has it in hand, its outcome is the sender's to book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .parcel import Parcel, requests_in

if TYPE_CHECKING:
    from .spool import Claimed


class Batch(Parcel):
    """Everything of one lane between two positions of its journal: what to send and what was left out."""

    __slots__ = ("born", "floor", "held", "room", "size", "source", "spooled", "unsampled", "upto")

    def __init__(self, source: str, floor: int, born: float) -> None:
        super().__init__()
        self.source = source
        self.born = born
        self.floor = floor  # the ring must keep everything from here on until this is done
        self.upto = floor  # set when it is sealed
        self.room = 0  # about what its records took in the journal: some times that in memory
        self.size = 0  # requests it accounts for, sent or not
        self.unsampled = 0
        self.spooled = 0
        self.held: Claimed | None = None  # the spool file it went to out of a hand, which still has it

    def spool_rest(self) -> None:
        """Everything not delivered yet now stands in a spool."""
        self.spooled = requests_in(self.records)
        self.records = []
        self.done = True
