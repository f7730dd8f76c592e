"""Whereabouts: which frames serve which request, on event loops, in threads and among greenlets."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from types import SimpleNamespace

import pytest

from server_tracing.export.stuck.whereabouts import Whereabouts
from server_tracing.record import Kind


class Slot(SimpleNamespace):
    """An open request."""


def slot_in(frame):
    """What a function `serve` is given is what it serves."""
    return frame.f_locals.get("request") if frame.f_code.co_name == "serve" else None


def found(slots, *, loops=(), pools=(), kind=Kind.BEGIN_BYTES):
    """The functions that each of these requests is in, by its number."""
    where = Whereabouts(slot_in, lambda: loops, lambda: pools)
    wanted = {slot.number: (slot, kind) for slot in slots}
    told = {}
    for slot, frames in where.find(wanted):
        told[slot.number] = [frame.f_code.co_name for frame in frames if frame.f_code.co_filename == __file__]
    return told


async def endless():
    await asyncio.Event().wait()


async def awaits():
    await endless()


async def in_a_generator():
    async def generator():
        yield 1
        await endless()

    async for _ in generator():
        pass


async def gathers():
    await asyncio.gather(endless(), awaits())


async def shields():
    await asyncio.shield(awaits())


async def is_timed():
    await asyncio.wait_for(awaits(), 30)


async def waits_for_any():
    tasks = [asyncio.create_task(awaits())]
    await asyncio.wait(tasks)


async def knows_another():
    strangers = asyncio.all_tasks()
    stranger = min(strangers, key=id)
    await endless()
    del stranger


async def groups():
    import anyio

    async with anyio.create_task_group() as group:
        group.start_soon(awaits)


async def waits_for_its_group():
    import anyio

    send, receive = anyio.create_memory_object_stream(1)
    with send, receive:
        async with anyio.create_task_group() as group:
            group.start_soon(awaits)
            await receive.receive()


GO_ON = threading.Event()


def works():
    GO_ON.wait(30)


async def in_a_thread():
    await asyncio.to_thread(works)


async def in_a_pool():
    await asyncio.get_running_loop().run_in_executor(None, works)


async def in_a_thread_of_anyio():
    import anyio.to_thread

    await anyio.to_thread.run_sync(works)


@pytest.mark.parametrize(
    ("waits", "ends"),
    [
        (awaits, ["awaits", "endless"]),
        (in_a_generator, ["in_a_generator", "generator", "endless"]),
        (gathers, ["gathers", "endless", "awaits", "endless"]),
        (shields, ["shields", "awaits", "endless"]),
        (is_timed, ["is_timed", "awaits", "endless"]),
        (waits_for_any, ["waits_for_any", "awaits", "endless"]),
        (knows_another, ["knows_another", "endless"]),
        (groups, ["groups", "awaits", "endless"]),
        (waits_for_its_group, ["waits_for_its_group", "awaits", "endless"]),
        (in_a_thread, ["in_a_thread", "works"]),
        (in_a_pool, ["in_a_pool", "works"]),
        (in_a_thread_of_anyio, ["in_a_thread_of_anyio", "works"]),
    ],
)
def test_a_task_is_followed_to_where_it_waits(waits, ends):
    """Through generators, other tasks, task groups and threads; looked at from another thread."""
    GO_ON.clear()
    request, other = Slot(number=1), Slot(number=2)

    async def serve(request):
        await waits()

    async def main():
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(serve(slot)) for slot in (request, other)]
        try:
            for _ in range(200):
                await asyncio.sleep(0.01)
                told = await asyncio.to_thread(found, [request], loops=[loop])
                if told.get(1, [])[1:] == ends:
                    break
            return told
        finally:
            GO_ON.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    assert asyncio.run(main()) == {1: ["serve", *ends]}


def test_the_task_that_runs_is_found_in_its_thread():
    """A coroutine that does not suspend shows only there."""
    request = Slot(number=1)

    async def serve(request):
        return found([request], loops=[asyncio.get_running_loop()])[1]

    assert asyncio.run(serve(request))[-2:] == ["serve", "found"]


def test_nothing_is_told_of_a_task_that_has_ended_or_of_another_request():
    """A number alone is not enough: it is the very slot that is looked for."""
    request, namesake = Slot(number=1), Slot(number=1)

    async def serve(request):
        await awaits()

    async def main():
        task = asyncio.create_task(serve(request))
        await asyncio.sleep(0)
        told = found([namesake], loops=[asyncio.get_running_loop()])
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return told, found([request], loops=[asyncio.get_running_loop()])

    assert asyncio.run(main()) == ({}, {})


def test_thousands_of_tasks_are_looked_through_while_they_run():
    """From another thread, in the middle of whatever they do."""
    slots = [Slot(number=number) for number in range(2000)]

    async def serve(request, stop):
        while not stop.is_set():
            await asyncio.sleep(0)

    async def main():
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(serve(slot, stop)) for slot in slots]
        told = [await asyncio.to_thread(found, slots[:50], loops=[loop]) for _ in range(3)]
        stop.set()
        await asyncio.gather(*tasks)
        return told

    for told in asyncio.run(main()):
        assert len(told) > 40
        assert all(functions[0] == "serve" for functions in told.values())


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="gevent shows other frames there")
def test_greenlets_are_found_in_their_pool():
    """Suspended ones by their own frames."""
    gevent = pytest.importorskip("gevent.pool")
    greenlet = pytest.importorskip("greenlet")
    request, waiting = Slot(number=1), []

    def serve(request):
        waiting.append(greenlet.getcurrent())
        waiting[0].parent.switch()

    pool = gevent.Pool(1)
    serving = greenlet.greenlet(serve)
    serving.switch(request)
    told = found([request], pools=[[serving]], kind=Kind.BEGIN_TEXT)
    serving.switch()
    assert told == {1: ["serve"]}
    assert list(pool) == []


def test_a_thread_of_its_own_is_taken_where_no_frame_tells(monkeypatch):
    """A server of somebody else's making: one thread, one request."""
    request = Slot(number=1, thread=threading.get_ident())
    assert found([request], kind=Kind.BEGIN_TEXT)[1][-1] == "found"
    assert found([request], kind=Kind.BEGIN_BYTES) == {}
    monkeypatch.setitem(globals(), "__name__", "gevent.pywsgi")
    assert found([request], kind=Kind.BEGIN_TEXT) == {}


def test_a_thread_that_serves_another_request_is_not_ones_own():
    """One that never ended, and whose thread has long gone on."""

    def serve(request):
        return found([Slot(number=1, thread=threading.get_ident())], kind=Kind.BEGIN_TEXT)

    assert serve(Slot(number=2)) == {}
