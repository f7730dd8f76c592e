"""The names of spool files, which say everything that has to survive a kill:

    <batch>.part                            complete, but its journal does not know yet that it may let go
    <batch>.spool                           to be delivered, by whoever locks it (flock) first
    <batch>.<what>.<closer>.<number>.done   dealt with; `closer`, a journal, has yet to count it

where <batch> is <time>-<journal>-<upto>-<requests>, and <what> says `delivered`, or why how many were not:
`refused-3`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import NamedTuple

PART, SPOOL, DONE = ".part", ".spool", ".done"
DELIVERED = "delivered"
MOST = 1_000_000  # requests in a file of ours: what a name says is counted
LARGEST = 2**62


class Name(NamedTuple):
    """What a file's name says."""

    time: int  # ns
    journal: str
    upto: int
    requests: int

    @classmethod
    def of(cls, file: str) -> Name | None:
        """The name of a file of ours, or None."""
        fields = file.partition(".")[0].split("-")
        if len(fields) != 4:
            return None
        spooled, upto, count = (_number(fields[place]) for place in (0, 2, 3))
        if spooled is None or upto is None or count is None or count > MOST:
            return None
        return cls(spooled, fields[1], upto, count)

    def __str__(self) -> str:
        return f"{self.time:020d}-{self.journal}-{self.upto}-{self.requests}"


class Closed(NamedTuple):
    """A spool file that was dealt with: to be counted, and then removed."""

    path: str
    number: int  # the how many-th of its closer
    requests: int
    delivered: int
    dropped: dict[str, int]

    def remove(self) -> None:
        """It is counted: take it away."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)


def done(name: Name, dropped: Mapping[str, int], closer: str, number: int) -> str:
    """The file of a batch of which so many were dropped, and the others delivered. If somebody else has to
    count it, one reason, the most frequent, stands for all."""
    reason = max(dropped, key=dropped.__getitem__, default="")
    what = f"{_plain(reason)}-{sum(dropped.values())}" if reason else DELIVERED
    return f"{name}.{what}.{closer}.{number}{DONE}"


def closed_by(path: str, name: Name) -> tuple[str, Closed]:
    """Who closed a done file, and how, as its name says."""
    _, what, closer, number, _ = (os.path.basename(path) + "....").split(".", 4)
    reason, _, count = what.partition("-")
    missing = min(_number(count) or 0, name.requests)
    dropped = {reason: missing} if missing else {}
    return closer, Closed(path, _number(number) or 0, name.requests, name.requests - missing, dropped)


def _number(digits: str) -> int | None:
    """A number of ours: larger ones no account could hold."""
    if not (digits.isascii() and digits.isdigit()):
        return None
    number = int(digits)
    return number if number < LARGEST else None


def _plain(reason: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in reason) or "dropped"
