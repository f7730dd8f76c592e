"""Why workers died, as far as the master knows: a small table in memory shared with every worker.

Mapped before the first fork, written by the master alone, read by whoever adopts a dead worker's journal.
The master learns it from `os.waitpid`, watched for as long as gunicorn reaps: its hooks are not told the wait
status, and who looks at the dead before they are reaped (`waitid` with WNOWAIT) misses those that die
meanwhile: of three workers killed at once one was `unknown` (ran).
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

from server_tracing import oom

ROOM = 512  # deaths remembered; a sibling asks within seconds
ENTRY = struct.Struct("<IiiQ")  # pid, cause, number, monotonic stamp; a pid of 0 is an entry being written
TIMEOUT, SIGNAL, EXIT, STARVED = 1, 2, 3, 4
WORDS = {
    TIMEOUT: "timeout",
    SIGNAL: "signal {}",
    EXIT: "exit {}",
    STARVED: "signal {} (out of memory)",
}


class Reasons:
    """The table: one entry a pid, of so many deaths the latest."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, ROOM * ENTRY.size)
        self._next = count().__next__  # atomic: 21.2 reaps in a signal handler

    def note(self, pid: int, cause: int, number: int = 0) -> None:
        """In the master: this worker is dead, and why."""
        known = [entry[0] for entry in ENTRY.iter_unpack(self._memory[:])]
        at = (known.index(pid) if pid in known else self._next() % ROOM) * ENTRY.size
        ENTRY.pack_into(self._memory, at, 0, cause, number, time.monotonic_ns())
        self._memory[at : at + 4] = pid.to_bytes(4, "little")

    def reason_for(self, pid: int) -> tuple[str, int] | None:
        """In a worker: why that one died, and when it was known; None if the master has not said."""
        for known, cause, number, stamp in ENTRY.iter_unpack(self._memory[:]):
            if known == pid and cause in WORDS:
                return WORDS[cause].format(number), stamp
        return None


class Death(NamedTuple):
    """A dead child: `by` is SIGNAL or EXIT, `number` the signal's or the exit code."""

    by: int
    number: int


def watch_deaths(
    arbiter: Any, reasons: Reasons, kills: Callable[[], int] = oom.kills, system: Any = os
) -> None:
    """Have this master note why its workers died while it reaps them."""
    reap = arbiter.reap_workers
    starved = kills()

    def cause(worker: Any, death: Death) -> int:
        nonlocal starved
        if getattr(worker, "aborted", False):
            return TIMEOUT
        if death != (SIGNAL, signal.SIGKILL):
            return death.by
        before, starved = starved, kills()
        return STARVED if starved > before else SIGNAL

    def note(pid: int, status: int) -> None:
        if pid in arbiter.WORKERS:  # not yet taken out
            death = death_of(status)
            reasons.note(pid, cause(arbiter.WORKERS[pid], death), death.number)

    def reap_workers() -> Any:
        waitpid = system.waitpid

        def noted(*arguments: Any) -> tuple[int, int]:
            pid, status = waitpid(*arguments)
            with suppress(Exception):  # a master that is not what it was goes on without
                note(pid, status)
            return pid, status

        system.waitpid = noted
        try:
            return reap()
        finally:
            system.waitpid = waitpid

    arbiter.reap_workers = reap_workers


def death_of(status: int) -> Death:
    """How a child died, by its wait status."""
    if os.WIFSIGNALED(status):
        return Death(SIGNAL, os.WTERMSIG(status))
    return Death(EXIT, os.WEXITSTATUS(status))
