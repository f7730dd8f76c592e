"""Where is it? The stack of a request that has been running for too long, written down while it still runs.

So it is there even if the worker is killed a moment later. It is the stack of the thread that serves the
request, taken once per request; where many requests share a thread (an event loop, greenlets), a thread's
stack says nothing of any one of them, and nothing is written.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType

import msgspec

from server_tracing.journal import Journal
from server_tracing.record import Frame, Kind, Stack

from .chores import Slot
from .join import Joiner
from .stacks import MAX_FRAMES

WITHOUT_TIMEOUT = 10.0  # seconds, where neither a setting nor a worker timeout says what is too long
OFTEN = 0.5  # seconds between looks
_encode = msgspec.msgpack.Encoder().encode


def too_long(setting: float | None, timeout: float | None) -> float:
    """Seconds after which a request is stuck: as set, else half the worker timeout; 0 is never."""
    if setting is not None:
        return setting
    return timeout / 2 if timeout else WITHOUT_TIMEOUT


class Watchdog:
    """A chore of the reader: looks every so often at what is open."""

    def __init__(
        self,
        journal: Journal,
        joiner: Joiner,
        open_slots: Callable[[], Iterable[Slot]],
        after: float,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        stacks: Callable[[], Mapping[int, FrameType]] = sys._current_frames,
    ) -> None:
        self._journal = journal
        self._joiner = joiner
        self._open_slots = open_slots
        self._after = int(after * 1e9)
        self._clock = clock
        self._stacks = stacks
        self._next = 0.0

    def __call__(self, now: float) -> None:
        if not self._after or now < self._next:
            return
        self._next = now + OFTEN
        stuck = list(self._stuck())
        stacks = self._stacks() if stuck else {}
        for slot in stuck:
            if slot.thread in stacks:
                self._write(slot, stacks[slot.thread])

    def _stuck(self) -> Iterator[Slot]:
        before = self._clock() - self._after
        for slot in list(self._open_slots()):
            if slot.start < before:
                trail = self._joiner.find(slot.number)
                if trail is not None and trail.kind == Kind.BEGIN_TEXT and trail.stack is None:
                    yield slot

    def _write(self, slot: Slot, top: FrameType) -> None:
        stack = Stack(slot.number, self._clock(), frames_of(top))
        trail = self._joiner.find(slot.number)
        if trail is not None and self._journal.append(Kind.STACK, _encode(stack)):
            trail.stack = stack


def frames_of(top: FrameType) -> list[Frame]:
    """The innermost frames of a stack, the innermost last."""
    frames: list[Frame] = []
    frame: FrameType | None = top
    while frame is not None and len(frames) < MAX_FRAMES:
        code = frame.f_code
        frames.append(Frame(code.co_filename, frame.f_lineno or 0, code.co_name))
        frame = frame.f_back
    frames.reverse()
    return frames
