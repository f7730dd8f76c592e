"""Where requests are right now: the frames that serve each of them, the outermost first.

A request has a thread to itself, or it is one of many on an event loop or among greenlets. Nothing is noted
of that while it is served: it is found from here, by looking for the frame that holds the request's slot in
the stacks of all threads, then in suspended tasks, then in suspended greenlets. So a request never gets the
stack of another one that happens to run in its thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from server_tracing.export.pace import Pace
from server_tracing.record import Kind

from .frames import Frames, Stacks, stack
from .in_flight import Slot

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

GREENLETS = ("gevent.", "eventlet.")  # where a thread has a hub, it shows in its stack
OUTER = 12  # coroutines of a task in which its request is looked for: servers call the application early


def nothing_in(frame: FrameType) -> object | None:
    """Where nobody can tell which request a frame serves."""
    return None


class Whereabouts:
    """Finds requests. `slot_in` tells the request that a frame serves; `loops` and `pools` are the event
    loops and the pools of greenlets that serve any."""

    def __init__(
        self,
        slot_in: Callable[[FrameType], object | None] = nothing_in,
        loops: Callable[[], Iterable[AbstractEventLoop]] = tuple,
        pools: Callable[[], Iterable[Iterable[Any]]] = tuple,
        *,
        pace: Pace | None = None,
        stacks: Callable[[], Stacks] = sys._current_frames,
    ) -> None:
        self._slot_in = slot_in
        self._loops = loops
        self._pools = pools
        self._pace = pace or Pace()
        self._stacks = stacks

    def find(self, wanted: Mapping[int, tuple[Slot, int]]) -> Iterator[tuple[Slot, Frames]]:
        """Those of `wanted` (slot and kind of begin, by number) that can be found."""
        left = {number: slot for number, (slot, _) in wanted.items()}
        stacks = self._stacks()
        for look in (self._in_threads, self._in_tasks, self._in_greenlets):
            for number, frames in look(left, stacks):
                yield left.pop(number), frames
            if not left:
                return
        for number, slot in left.items():
            if wanted[number][1] == Kind.BEGIN_TEXT:
                frames = stack(stacks.get(slot.thread))
                if self._is_alone(frames):
                    yield slot, frames

    def _in_threads(self, left: Mapping[int, Slot], stacks: Stacks) -> Iterator[tuple[int, Frames]]:
        for top in list(stacks.values()):
            frames = stack(top)
            number = self._served(reversed(frames), left)
            if number is not None:
                yield number, frames

    def _in_tasks(self, left: Mapping[int, Slot], stacks: Stacks) -> Iterator[tuple[int, Frames]]:
        loops = list(self._loops())
        if not loops:
            return
        import asyncio  # of a server that uses it, and of no other

        from .tasks import frames_of_task, whole_way

        for loop in loops:
            for task in asyncio.all_tasks(loop):
                self._pace.breathe(8)
                outer = [frame for frame, _ in zip(frames_of_task(task), range(OUTER), strict=False)]
                number = self._served(outer, left)
                if number is not None:
                    yield number, whole_way(task, stacks)

    def _in_greenlets(self, left: Mapping[int, Slot], stacks: Stacks) -> Iterator[tuple[int, Frames]]:
        for pool in list(self._pools()):
            for greenlet in list(pool):
                self._pace.breathe(8)
                frames = stack(greenlet.gr_frame)
                number = self._served(reversed(frames), left)
                if number is not None:
                    yield number, frames

    def _served(self, frames: Iterable[FrameType], left: Mapping[int, Slot]) -> int | None:
        """The first request that one of these frames serves, if it is one we look for."""
        for frame in frames:
            slot = self._slot_in(frame)
            if slot is not None:
                number: int = slot.number  # type: ignore[attr-defined]
                return number if left.get(number) is slot else None
        return None

    def _is_alone(self, frames: Frames) -> bool:
        """Whether these are of a thread that serves one request, though no frame says which: somebody else's
        server, which is sending. Not where greenlets may share it."""
        shared = any(frame.f_globals.get("__name__", "").startswith(GREENLETS) for frame in frames)
        return bool(frames) and not shared and not any(map(self._slot_in, frames))
