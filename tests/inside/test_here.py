"""The request in hand is the one the code runs in, wherever that code runs, and never another."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from inside_kit import Lab, counted

import server_tracing
from server_tracing import current, in_context
from server_tracing.inside import greenlets, here
from server_tracing.inside.opening import wanted


def in_thread(function):
    """What a function returns in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def numbers():
    return [int(current().number) if current() else 0]


class TestFollowing:
    """From begin to end, by the context."""

    def test_the_request_is_in_hand_until_it_ends(self):
        """Falsy before and after, in the thread that served it."""
        lab = Lab()
        assert not current()
        with lab.request():
            assert current()
            assert current() is current()
        assert not current()
        assert repr(current()) == "<no request>"

    def test_the_next_request_of_the_thread_is_another(self):
        """Kept-alive connections and worker threads serve one after the other."""
        lab, traces = Lab(), []
        for _ in range(3):
            with lab.request():
                traces.append(current().trace_id)
        assert len(set(traces)) == 3
        assert traces == [record.trace_id for record in lab.records()]

    def test_a_span_left_open_ends_with_its_request(self):
        """It is not the parent of what the next request does, and is shown as not ended."""
        lab = Lab()
        with lab.request():
            server_tracing.span("forgotten").__enter__()
        assert not current()
        with lab.request(), server_tracing.span("mine"):
            pass
        first, second = lab.records()
        assert [span.duration_ms for span in first.spans] == [None]
        assert [span.parent_id for span in second.spans] == [second.span_id]

    def test_a_request_the_journal_had_no_room_for_is_nobodys(self):
        """What a context has inherited of an earlier request does not count for it."""
        lab = Lab(size=65536)
        slots = [lab.begin() for _ in range(1000)]
        assert slots[-1] is None
        assert not current()
        lab.recorder._entered(slots[0])
        assert current()
        assert lab.begin() is None
        assert not current()

    def test_ending_a_request_elsewhere_leaves_another_in_hand_alone(self):
        """Servers end some records from a callback that runs in anybody's context."""
        lab = Lab()
        first, second = lab.begin(), lab.begin()
        lab.end(first)
        assert current().number == second.number
        lab.end(second)

    def test_a_refusal_in_the_middle_of_it_leaves_it_in_hand(self):
        """HTTP/2 refuses a stream while it serves another."""
        lab = Lab()
        with lab.request() as slot:
            lab.recorder.rejected("GET", "/", "2", "https", "192.0.2.7", 5, [], 503, "too many")
            assert current().number == slot.number


class TestGreenlets:
    """gevent gives each an empty context."""

    @pytest.fixture
    def gevent(self):
        gevent = pytest.importorskip("gevent")
        greenlets.follow()
        return gevent

    def test_a_greenlet_is_part_of_the_request_it_was_spawned_in(self, gevent):
        """And so are those it spawns; while others serve others, and after its request has ended."""
        lab = Lab()

        def child():
            gevent.sleep(0)
            return current().number

        def serve():
            for _ in range(2):  # on a connection that is kept
                with lab.request() as slot:
                    gevent.sleep(0)
                    grandchild = gevent.spawn(lambda: gevent.spawn(child).get())
                    late = gevent.spawn_later(0.01, child)
                    seen = {current().number, grandchild.get()}
            return seen == {slot.number} and late.get() == slot.number and not current()

        served = [gevent.spawn(serve) for _ in range(50)]
        assert all(greenlet.get() for greenlet in served)

    def test_a_greenlet_spawned_elsewhere_is_of_no_request(self, gevent):
        """Its context is not touched."""
        assert not gevent.spawn(current).get()

    def test_nothing_else_of_the_context_is_handed_on(self, gevent):
        """That would change what the application sees."""
        other = contextvars.ContextVar("other", default="empty")
        lab = Lab()
        with lab.request():
            other.set("set")
            assert gevent.spawn(other.get).get() == "empty"

    def test_a_thread_is_no_greenlet_of_the_request(self, gevent):
        """It may be one of a pool, which serves others next."""
        ran = subprocess.run([sys.executable, "-c", PATCHED], capture_output=True, text=True, check=False)
        assert (ran.stdout, ran.stderr) == ("[False, False, True, True]\n", "")


PATCHED = f"""
from gevent import monkey
monkey.patch_all()
import sys
sys.path[:0] = {[path for path in sys.path if path]!r}
import gevent
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from inside_kit import Lab
from server_tracing import current, in_context
from server_tracing.inside import greenlets
greenlets.follow()
lab, seen = Lab(), []
def look():
    seen.append(bool(current()))
with lab.request(), ThreadPoolExecutor(1) as pool:
    thread = Thread(target=look)
    thread.start()
    thread.join()
    pool.submit(look).result()
    pool.submit(in_context(look)).result()
    gevent.spawn(look).join()
print(seen)
"""


class TestTasks:
    """asyncio: every task has a context of its own, copied from the one that started it."""

    def test_interleaved_requests_see_themselves(self):
        """Also their child tasks, and functions they run in threads, while all of them run."""
        lab = Lab()

        async def child():
            await asyncio.sleep(0)
            return current().number

        async def serve():
            slot = lab.begin()
            await asyncio.sleep(0)
            seen = {current().number, *await asyncio.gather(child(), child())}
            seen.add(await asyncio.to_thread(lambda: current().number))
            lab.end(slot)
            return seen == {slot.number}

        async def all_of_them():
            return await asyncio.gather(*(serve() for _ in range(200)))

        assert all(asyncio.run(all_of_them()))

    def test_a_thread_pool_that_copies_contexts_is_part_of_the_request(self):
        """Starlette runs synchronous endpoints so."""
        concurrency = pytest.importorskip("starlette.concurrency")
        lab = Lab()

        async def serve():
            with lab.request() as slot:
                number = await concurrency.run_in_threadpool(lambda: current().number)
                return number == slot.number

        assert asyncio.run(serve())

    def test_a_task_that_outlives_its_request_says_nothing_any_more(self):
        """It keeps the ids; what it says is counted and enters no record."""
        lab = Lab()

        async def serve():
            over = asyncio.Event()

            async def left_behind():
                await over.wait()
                request = current()
                request.annotate("late", 1)
                request.user = "late"
                with server_tracing.span("late"):
                    pass
                return request.trace_id, repr(request)

            with lab.request():
                trace_id = current().trace_id
                task = asyncio.create_task(left_behind())
            with lab.request():
                over.set()
                late, shown = await task
            return trace_id == late and shown.endswith("ended>")

        with counted() as counts:
            assert asyncio.run(serve())
        assert counts.late == 4
        assert "4 late" in str(counts)
        assert all(not (r.annotations or r.user or r.spans) for r in lab.records())


class TestThreads:
    """Threads have contexts of their own, empty ones."""

    def test_a_plain_thread_is_of_no_request(self):
        """Whose it is nobody can know."""
        lab = Lab()
        with lab.request():
            assert not in_thread(current)

    def test_in_context_makes_it_part_of_the_request(self):
        """Within the span it was made in; and the thread is nobody's again afterwards."""
        lab = Lab()

        def work(key, *, value):
            current().annotate(key, value)
            with server_tracing.span("in the thread"):
                return current().number

        with lab.request() as slot, server_tracing.span("outer"), ThreadPoolExecutor(1) as pool:
            moved = in_context(work)
            assert moved.__name__ == "work"
            assert pool.submit(moved, "a", value=1).result() == slot.number
            assert not pool.submit(current).result()
        outer, inner = lab.record.spans
        assert inner.parent_id == outer.span_id
        assert lab.record.annotations == {"a": 1}

    def test_in_context_takes_coroutine_functions_too(self):
        """For an event loop that runs in another thread."""
        lab = Lab()

        async def work():
            await asyncio.sleep(0)
            return current().number

        with lab.request() as slot:
            moved = in_context(work)
            assert in_thread(lambda: asyncio.run(moved())) == slot.number

    def test_in_context_outside_of_a_request_is_the_function_itself(self):
        """Nothing to carry."""
        assert in_context(numbers) is numbers


class TestFirstUse:
    """A worker that was started before anybody asked."""

    def test_requests_that_were_open_are_found_by_their_stack(self):
        """And followed from there, into tasks and threads that copy contexts."""
        lab = Lab(attach=False)
        slot = lab.begin()
        here.attach(lab.host)

        def serve(slot):
            found = current()
            copied = contextvars.copy_context().run(lambda: current())
            return found.number, copied.number

        assert not current()
        assert in_module("server_tracing.capture.wsgi", serve)(slot) == (slot.number, slot.number)
        lab.end(slot)
        assert not current()

    def test_a_request_that_has_ended_is_not_found(self):
        """Its frame may still be on the stack."""
        lab = Lab(attach=False)
        slot, other = lab.begin(), lab.begin()
        here.attach(lab.host)
        lab.end(slot)
        assert not in_module("server_tracing.capture.wsgi", lambda slot: current())(slot)
        lab.end(other)

    def test_requests_cost_nothing_before_it(self):
        """No context variable is set."""
        lab = Lab(attach=False)
        context = contextvars.Context()
        context.run(lab.begin)
        assert here.here not in context

    def test_an_application_that_holds_the_package_will_want_it(self, monkeypatch):
        """Whatever it calls it; our own modules do not count."""
        monkeypatch.delitem(sys.modules, "server_tracing.inside.api")
        for module in list(sys.modules.values()):
            if not getattr(module, "__name__", "").startswith("server_tracing"):
                monkeypatch.delitem(vars(module), "server_tracing", raising=False)
        assert not wanted()
        monkeypatch.setitem(globals(), "st", sys.modules["server_tracing"])
        assert wanted()


def in_module(name, function):
    """The function, as if it stood in a module of this name."""
    scope = {**globals(), "__name__": name}
    return type(function)(function.__code__, scope, function.__name__, None, function.__closure__)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_writes_nothing_and_still_knows_its_trace():
    """The journal is its parent's."""
    lab = Lab()
    with lab.request():
        expected, frames = current().trace_id, len(list(lab.journal.frames()))
        child = os.fork()
        if not child:
            lab.journal.disown()
            current().annotate("a", 1)
            known = current().trace_id == expected and "b3" in server_tracing.headers()
            os._exit(0 if known else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(list(lab.journal.frames())) == frames


def test_two_threads_asking_first_get_one_view():
    """Or they would give the same ids to different spans."""
    lab, gate, seen = Lab(), threading.Barrier(8), []

    def ask():
        gate.wait()
        seen.append(current())

    with lab.request():
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(ask,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({id(view) for view in seen}) == 1
