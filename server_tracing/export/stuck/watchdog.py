"""Where is it? The stack of a request that has been running for too long, written down while it still runs.

So it is there even if the worker is killed a moment later. It is taken once per request, of its thread, its
task or its greenlet (whereabouts.py). WebSockets are not stuck because they are old, and have none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from types import FrameType

from server_tracing.record import Frame, Stack

from .in_flight import InFlight, Slot
from .stacks import MAX_FRAMES
from .whereabouts import Whereabouts

WITHOUT_TIMEOUT = 10.0  # seconds, where neither a setting nor a worker timeout says what is too long
OFTEN = 0.5  # seconds between looks
SELDOM = 30.0  # the same where looking finds nothing
AT_ONCE = 100  # requests looked for in one go
SHARE = 8  # stacks of open requests may take this part of the ring
ENDLESS = ("ws", "wss")


def too_long(setting: float | None, timeout: float | None) -> float:
    """Seconds after which a request is stuck: as set, else half the worker timeout; 0 is never."""
    if setting is not None:
        return setting
    return timeout / 2 if timeout else WITHOUT_TIMEOUT


class Watchdog:
    """A chore of the reader: looks every so often at what is open."""

    def __init__(
        self,
        flying: InFlight,
        after: float,
        *,
        whereabouts: Whereabouts | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._flying = flying
        self._after = int(after * 1e9)
        self._whereabouts = whereabouts or Whereabouts()
        self._clock = clock
        self._next = 0.0
        self._rest = OFTEN
        self._taken: dict[int, int] = {}  # bytes in the ring, by the number of the open request

    def __call__(self, now: float) -> None:
        if not self._after or now < self._next:
            return
        stuck = {slot.number: (slot, kind) for slot, kind in islice(self._stuck(), AT_ONCE)}
        written = 0
        for slot, frames in self._whereabouts.find(stuck) if stuck else ():
            written += self._write(slot, frames)
        self._rest = OFTEN if written == len(stuck) else min(self._rest * 2, SELDOM)
        self._next = now + self._rest

    def _stuck(self) -> Iterator[tuple[Slot, int]]:
        for slot, trail in self._flying.stuck(self._clock() - self._after):
            if trail.begin.scheme not in ENDLESS:
                yield slot, trail.kind

    def _write(self, slot: Slot, frames: list[FrameType]) -> bool:
        taken = self._flying.tell_stack(Stack(slot.number, self._clock(), told(frames)), self._room_left())
        if taken:
            self._taken[slot.number] = taken
        return taken > 0

    def _room_left(self) -> int:
        self._taken = {number: size for number, size in self._taken.items() if self._flying.is_open(number)}
        return self._flying.ring // SHARE - sum(self._taken.values())


def told(frames: list[FrameType]) -> list[Frame]:
    """The innermost of these frames as they are written down; the innermost stands last."""
    return [
        Frame(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name)
        for frame in frames[-MAX_FRAMES:]
    ]
