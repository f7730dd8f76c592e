"""What a process writes down when Python cannot any more: faulthandler's stacks, in a file of its journal's.

- It crashes in native code (SIGSEGV and the like) or is aborted: its last words are its threads' stacks. Not
  where anybody else has a handler for these signals: a JVM in the process, say, lives on its SIGSEGVs.
- Native code holds the interpreter: a timer that the reader sets back at every wake goes off, and the stacks
  are written by the signal's handler, which needs no interpreter.

The file is made when the worker starts, at its full size, and adopted with the journal. If there is only one
thread of a request, its stack is told; of those that share a thread, that of the one that keeps it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from server_tracing.journal import Journal
from server_tracing.journal import words as words
from server_tracing.record import Stack

from . import dump
from .in_flight import InFlight

if TYPE_CHECKING:
    from .deadman import DeadMansSwitch

HELD = 2.0  # seconds without the interpreter that are no accident
SHORTEST = 1.0  # on a busy machine a thread may have to wait
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


class LastWords:
    """A chore of the reader, whose thread is the one that the timer's signal meets. `make` makes the file
    beside the journal, where that stands now; None: a journal in memory alone has no heirs."""

    def __init__(
        self,
        journal: Journal,
        flying: InFlight,
        after: float,
        make: Callable[[], int | None],
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._journal = journal
        self._flying = flying
        self._after = int(after * 1e9)
        self._held = min(HELD, max(SHORTEST, after))
        self._make = make
        self._clock = clock
        self._place: tuple[str | None, int] = (None, 0)  # of the journal, when the file was made
        self._file: int | None = None
        self._switch: DeadMansSwitch | Nothing | None = None

    def begin(self) -> None:
        """Before there is any request: the first may be the one that crashes."""
        self._place = (self._journal.path, self._journal.moves)
        self._file = self._make()
        if self._file is None:
            return
        watch_crashes(self._file)
        if self._after and self._switch is None:
            self._switch = dead_mans_switch(self._file)
            self._switch.hold(self._held)

    def __call__(self, _now: float) -> None:
        if (self._journal.path, self._journal.moves) != self._place:
            self.begin()
        if self._file is None or self._switch is None:
            return
        self._switch.hold(self._held)
        if os.pread(self._file, 1, 0) > b"\0":
            self._tell(dump.parse(words.heard(self._file)))
            words.erase(self._file)

    def close(self) -> None:
        """Nobody will set the timer back any more."""
        if self._switch is not None:
            self._switch.close()
        self._switch = self._file = None

    def _tell(self, told: dump.Dump) -> None:
        """The interpreter was held, and is free again: of requests that are stuck it is known where."""
        stamp = self._clock()
        for slot, trail in self._flying.stuck(stamp - self._after):
            self._flying.tell_stack(Stack(slot.number, stamp, dump.frames_for(told, trail.thread)))


def watch_crashes(file: int) -> None:
    """Have the stacks written when this process crashes, unless somebody has other plans."""
    from .deadman import caught_signals

    caught = caught_signals()
    if not faulthandler.is_enabled() and not any(caught >> number - 1 & 1 for number in CRASHES):
        faulthandler.enable(file, all_threads=True)


def dead_mans_switch(file: int) -> DeadMansSwitch | Nothing:
    """The timer, if one can be had."""
    with contextlib.suppress(Exception):  # no ctypes, no timers, no signals left: then without
        from .deadman import DeadMansSwitch, free_signal

        number = free_signal()
        if number is not None:
            faulthandler.register(number, file, all_threads=True, chain=False)
            return DeadMansSwitch(number, threading.get_native_id())
    return Nothing()


class Nothing:
    """Where no timer can be had."""

    def hold(self, seconds: float) -> None:
        """Nothing will happen."""

    def close(self) -> None:
        """Nor afterwards."""
