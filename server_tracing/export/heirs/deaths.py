"""Why a worker died, and when: what it noted itself, what its master saw, what a sibling saw, its last words.

A master knows best, but a little later than the lock of a dead worker is free: it is waited for. A sibling
(siblings.py) has only seen how the process ended, and its own words tell only of a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from server_tracing.export.stuck.dump import Dump, parse
from server_tracing.journal import Journal

Told = tuple[str, int]  # a reason, and the monotonic stamp at which that was known
Ask = Callable[[int], "Told | None"]  # takes a pid
PATIENCE = 1.0  # seconds a master may take; it is told of a death at once


class Death(NamedTuple):
    """How a worker ended."""

    reason: str
    stamp: int = 0  # 0: unknown
    words: Dump = Dump(0, {})


UNKNOWN = Death("unknown")


def nobody(pid: int) -> Told | None:
    """Where nobody is asked."""
    return None


class Deaths:
    """Asks everybody who may know. `master` is None where there is none that tells."""

    def __init__(self, master: Ask | None = None, sibling: Ask = nobody) -> None:
        self._master = master
        self._sibling = sibling

    def of(self, journal: Journal, words: str, waited: float) -> Death | None:
        """How the worker of this journal ended; None if it is too early to say."""
        told = self._told(self._master, journal)
        if told is None and self._master is not None and waited < PATIENCE:
            return None
        told = told or self._told(self._sibling, journal) or ("", 0)
        dump = parse(words)
        own = "" if told[0] == "timeout" else journal.aborted
        last = f"signal {dump.signal}" if dump.signal else "exit" if journal.closed_cleanly else "unknown"
        return Death(own or told[0] or last, told[1], dump)

    @staticmethod
    def _told(ask: Ask | None, journal: Journal) -> Told | None:
        told = ask(journal.origin.pid) if ask is not None else None
        if told is None or told[1] < journal.heartbeat:
            return None  # of an earlier process of that number
        return told
