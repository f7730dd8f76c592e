"""Where an asyncio task is, seen from another thread: the frames of its coroutines, the outermost first.

A suspended coroutine tells what it awaits, step by step, down to a future. If that future is a task's, or is
fulfilled by a thread (`to_thread`, `run_in_executor`, a framework's thread pool), the way goes on there. What
awaits in its own way (an async generator's `asend`, an awaitable written in C) says nothing of it, but the
garbage collector knows what it refers to. The other thread goes on meanwhile: everything is looked at once,
nothing is believed to hold still, and every way is bounded.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable, Iterator
from concurrent import futures
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

from .frames import Stacks, stack

DEPTH = 200  # coroutines on one way down
BRANCHES = 16  # futures and tasks that one request waits for
THREAD_FRAMES = 12  # of a pool's thread, from the outside: what it works on stands in one of these
_SUSPENDED = (CoroutineType, GeneratorType, AsyncGeneratorType)


def frames_of_task(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames of a task's own coroutines, the outermost first; none while it is running."""
    awaited: Any = task.get_coro()
    for _ in range(DEPTH):
        if awaited is None or isinstance(awaited, asyncio.Future):
            return
        frame = frame_of(awaited)
        if frame is not None:
            yield frame
        awaited = awaited_by(awaited)


def whole_way(task: asyncio.Task[Any], stacks: Stacks) -> list[FrameType]:
    """The frames of a task and of what it waits for, wherever that is done."""
    frames: list[FrameType] = []
    seen: set[int] = set()
    waiting: list[Any] = [task]
    while waiting and len(seen) < BRANCHES:
        future = waiting.pop(0)
        if id(future) in seen or future.done():
            continue
        seen.add(id(future))
        if isinstance(future, asyncio.Task):
            own = list(frames_of_task(future))
            frames += own
            waiting += [*waited_for(future), *children(future, own)]
        else:
            frames += frames_of_thread(future, stacks)
            waiting += behind(future)
    return frames


def frame_of(awaited: Any) -> FrameType | None:
    """The frame of a coroutine, a generator or an async generator."""
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        if hasattr(awaited, name):
            frame: FrameType | None = getattr(awaited, name)
            return frame
    return None


def awaited_by(awaited: Any) -> Any:
    """What a suspended coroutine waits for, or what an opaque awaitable drives."""
    for name in ("cr_await", "gi_yieldfrom", "ag_await"):
        if hasattr(awaited, name):
            return getattr(awaited, name)
    driven = (one for one in gc.get_referents(awaited) if isinstance(one, (*_SUSPENDED, asyncio.Future)))
    return next(driven, None)


def waited_for(task: asyncio.Task[Any]) -> list[Any]:
    """The future that a task is suspended on."""
    waiter = getattr(task, "_fut_waiter", None)
    return [] if waiter is None else [waiter]


def children(task: asyncio.Task[Any], frames: Iterable[FrameType]) -> list[Any]:
    """The tasks it has started in these frames and waits for: those of its task groups, of `wait` and, up to
    3.11, of `wait_for`. Not every task that a frame knows is its child."""
    found: list[Any] = []
    for frame in frames:
        held = frame.f_locals
        if frame.f_globals.get("__name__") == "asyncio.tasks":
            found += [
                one for one in (held.get("fut"), *(held.get("fs") or ())) if isinstance(one, asyncio.Task)
            ]
        for value in list(held.values()):
            if type(value).__name__ == "TaskGroup" and host_of(value) is task:
                found += list(getattr(value, "_tasks", None) or ())
    return found


def host_of(group: Any) -> Any:
    """The task that a task group, asyncio's or anyio's, belongs to."""
    scope = getattr(group, "cancel_scope", None)
    return getattr(group, "_parent_task", None) or getattr(scope, "_host_task", None)


def behind(future: Any) -> list[Any]:
    """The futures whose end will fulfil this one: those of `gather`, `shield`, `wrap_future`."""
    found = list(getattr(future, "_children", None) or ())
    for callback, *_ in list(getattr(future, "_callbacks", None) or ()):
        for cell in getattr(callback, "__closure__", None) or ():
            try:
                held = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if isinstance(held, (asyncio.Future, futures.Future)):
                found.append(held)
    return found


def frames_of_thread(future: Any, stacks: Stacks) -> list[FrameType]:
    """The stack of the thread that works on this future, the outermost first."""
    for top in stacks.values():
        frames = stack(top)
        if any(works_on(frame, future) for frame in frames[:THREAD_FRAMES]):
            return frames
    return []


def works_on(frame: FrameType, future: Any) -> bool:
    """Whether a thread does in this frame what the future stands for."""
    if frame.f_code.co_name != "run":  # of concurrent.futures' _WorkItem, of anyio's WorkerThread
        return False
    held = frame.f_locals
    return held.get("future") is future or getattr(held.get("self"), "future", None) is future
