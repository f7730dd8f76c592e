"""What waits on disk for one backend, a file at a time: the sender's way back out of the spool.

Of the file in hand it is written down what is left, whenever a backend has taken a part of it: whoever comes
after us, also after a kill, sends that and no more.
"""

from __future__ import annotations

from .delivery import Verdict
from .parcel import Parcel
from .spool import Claimed, Spool


class Backlog:
    """The file in hand. Touched by the sender's thread alone."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._file: Claimed | None = None
        self._parcel = Parcel()

    def pick_up(self) -> Parcel | None:
        """What is to be delivered next, maybe nothing of it; None if nothing is there."""
        if self._file is None:
            self._file = self._spool.claim()
            if self._file is None:
                return None
            stale = self._spool.is_stale(self._file)
            self._parcel = Parcel() if stale else self._spool.read(self._file)
            if stale:
                self._parcel.drop("too_old", self._file.name.requests)
        return self._parcel

    def take(self, file: Claimed, parcel: Parcel) -> bool:
        """Have this file in hand, of which something is known already; False if there is another one."""
        if self._file is not None:
            return False
        self._file, self._parcel = file, parcel
        self._spool.note(file, parcel)
        return True

    def put_down(self, verdict: Verdict) -> None:
        """Count what an attempt at it came to."""
        less = self._parcel.book(verdict)
        if self._parcel.done:
            self.close()
        elif not self._parcel.moved:
            self.leave()  # another worker may be luckier
        elif less and self._file is not None:
            self._spool.note(self._file, self._parcel)

    def close(self) -> None:
        """It is dealt with."""
        if self._file is not None:
            self._spool.close(self._file, self._parcel.delivered, self._parcel.dropped)
            self._file = None

    def leave(self) -> None:
        """Not now, or not we."""
        if self._file is not None:
            self._spool.give_up(self._file)
            self._file = None
