"""The watchdog: where a request was when it had been running for too long."""

from __future__ import annotations

import threading

import pytest
from export_kit import HEADERS, Worker

from server_tracing.export.stuck.watchdog import OFTEN, SELDOM, SHARE, WITHOUT_TIMEOUT, Watchdog, too_long
from server_tracing.export.stuck.whereabouts import Whereabouts
from server_tracing.record import Kind, Outcome


def watch(worker: Worker, after: float = 5.0) -> Watchdog:
    return Watchdog(worker.flying, after, clock=worker.clock.ns)


def stacks_written(worker: Worker) -> int:
    return sum(frame.kind == Kind.STACK for frame in worker.journal.frames(0))


def stuck_here(worker: Worker, begun: threading.Event, go_on: threading.Event) -> None:
    """An application that does not come back."""
    slot = worker.begin("/stuck")
    begun.set()
    go_on.wait(30)
    worker.recorder.end(slot, Outcome.OK, 200)


def test_the_stack_of_a_stuck_request_is_written_once_and_reaches_its_record():
    """The thread's own stack, innermost call last."""
    worker, begun, go_on = Worker(), threading.Event(), threading.Event()
    serving = threading.Thread(target=stuck_here, args=(worker, begun, go_on))
    serving.start()
    assert begun.wait(30)
    worker.wake(1.0)
    watchdog = watch(worker)
    watchdog(0.0)
    assert stacks_written(worker) == 0
    worker.clock.advance(10)
    for look in range(1, 4):
        watchdog(look * OFTEN)
    assert stacks_written(worker) == 1
    go_on.set()
    serving.join()
    worker.wake()
    (request,) = worker.memory.requests
    assert "in stuck_here\n    go_on.wait(30)" in request.stack
    assert request.stack.splitlines()[-2].endswith("in wait")


def test_a_request_that_shares_its_thread_does_not_get_its_stack():
    """What an event loop does right now is not what this request waits for."""
    worker = Worker()
    headers = [(b"host", b"x")]
    worker.recorder.begin_bytes("GET", b"/", "1.1", "http", "", 0, headers)
    worker.wake(1.0)
    worker.clock.advance(100)
    watch(worker)(OFTEN)
    assert stacks_written(worker) == 0


def test_a_thread_that_is_gone_or_not_a_thread_has_no_stack():
    """A greenlet's number is nobody's."""
    worker = Worker()
    worker.begin("/", HEADERS).thread = -1
    worker.wake(1.0)
    worker.clock.advance(100)
    watch(worker)(OFTEN)
    assert stacks_written(worker) == 0


def test_a_websocket_is_not_stuck_because_it_is_old():
    """It lasts as long as its client wants."""
    worker = Worker()
    worker.recorder.begin_text("GET", "/", "1.1", "ws", "", 0, HEADERS)
    worker.wake(1.0)
    worker.clock.advance(100)
    watch(worker)(OFTEN)
    assert stacks_written(worker) == 0


def test_stacks_take_an_eighth_of_the_ring_at_most():
    """Hundreds of hanging requests do not keep others from being recorded."""
    worker = Worker(size=1 << 18)
    for number in range(400):
        worker.begin(f"/{number}")
    worker.wake(1.0)
    worker.clock.advance(100)
    watchdog = watch(worker)
    for look in range(1, 40):
        watchdog(look * SELDOM)
    written = [len(frame.payload) for frame in worker.journal.frames(0) if frame.kind == Kind.STACK]
    assert len(written) > 3
    assert sum(written) <= worker.journal.size / SHARE


def test_what_cannot_be_found_is_looked_for_less_and_less_often():
    """Looking costs something where there are many tasks."""
    looked = []

    class Nowhere(Whereabouts):
        def find(self, wanted):
            looked.append(dict(wanted))
            return iter(())

    worker = Worker()
    worker.begin("/")
    worker.wake(1.0)
    worker.clock.advance(100)
    watchdog = Watchdog(worker.flying, 5.0, whereabouts=Nowhere(), clock=worker.clock.ns)
    for tenth in range(600):
        watchdog(100 + tenth / 10)
    assert len(looked) == 6


def test_it_can_be_switched_off():
    """`stuck_after = "off"`."""
    worker = Worker()
    worker.begin("/")
    worker.wake(1.0)
    worker.clock.advance(1000)
    watch(worker, after=0.0)(OFTEN)
    assert stacks_written(worker) == 0


@pytest.mark.parametrize(
    ("setting", "timeout", "seconds"),
    [
        (3.0, 30.0, 3.0),
        (0.0, 30.0, 0.0),
        (None, 30.0, 15.0),
        (None, None, WITHOUT_TIMEOUT),
        (None, 0, WITHOUT_TIMEOUT),
    ],
)
def test_too_long_is_as_set_or_half_the_timeout(setting, timeout, seconds):
    """A worker that is killed after its timeout was stuck well before."""
    assert too_long(setting, timeout) == seconds
