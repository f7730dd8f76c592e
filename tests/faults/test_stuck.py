"""Requests that hang: their stacks are in the journal while they do, and outlive the worker."""

from __future__ import annotations

from typing import Any

import pytest
from fault_kit import (
    ALL,
    GUNICORN_WSGI,
    LOOPS,
    asking,
    command,
    doomed,
    functions,
    kill,
    killed,
    told_by_command,
)
from harness import Server, wait_until

STUCK = {"SERVER_TRACING_CAPTURE_STUCK_AFTER": "300ms"}


def stuck(server: Server, count: int) -> list[dict[str, Any]]:
    """What is running, once so many requests have a stack."""

    def found() -> list[dict[str, Any]]:
        running = told_by_command(server, "--outcome", "running")
        return running if sum("stack" in one for one in running) >= count else []

    return wait_until(found, 20.0)


@pytest.mark.parametrize("kind", ALL)
def test_a_stuck_request_says_where_it_is_and_its_killed_record_still_does(kind: str) -> None:
    """Listed with age and stack while it runs; the stack survives a SIGKILL."""
    path = "/wait" if kind in LOOPS else "/hang"
    where = {"/wait": "wait_here", "/hang": "hang_here"}[path]
    with doomed(kind, env=STUCK) as server, asking(server, path):
        (running,) = stuck(server, 1)
        assert where in functions(running)
        assert running["duration_ms"] >= 300
        kill(running["worker_pid"])
        (record,) = killed(server)
    assert functions(record) == functions(running)
    assert record["trace_id"] == running["trace_id"]


@pytest.mark.parametrize("kind", ["gevent", *LOOPS])
def test_requests_that_share_a_thread_have_each_their_own_stack(kind: str) -> None:
    """Also when one of them blocks the thread for all."""
    slow = ("/wait?20", "/pool?20", "/gather?20") if kind in LOOPS else ("/hang?20", "/hang?21")
    with doomed(kind, workers=1, env=STUCK) as server, asking(server, *slow):
        found = {one["path"]: functions(one) for one in stuck(server, len(slow))}
    if kind in LOOPS:
        assert found["/wait"][-2:] == ["wait_here", "sleep"]
        assert "wait_here" not in found["/pool"]
        assert found["/pool"][-1] == "hang_here"
        assert found["/gather"].count("wait_here") == 2
    else:
        assert "hang_here" in found["/hang"]


@pytest.mark.parametrize("kind", LOOPS)
def test_who_blocks_an_event_loop_is_found(kind: str) -> None:
    """The one that holds the loop has the thread's stack, the one that waits behind it its task's."""
    with doomed(kind, workers=1, env=STUCK) as server, asking(server, "/wait?20", "/hang?4"):
        found = {one["path"]: functions(one) for one in stuck(server, 2)}
    assert found["/hang"][-1] == "hang_here"
    assert found["/wait"][-2:] == ["wait_here", "sleep"]


@pytest.mark.parametrize("kind", GUNICORN_WSGI)
def test_a_request_in_time_has_no_stack(kind: str) -> None:
    """Nothing is looked for before `stuck_after`."""
    late = {"SERVER_TRACING_CAPTURE_STUCK_AFTER": "60s"}
    with doomed(kind, workers=1, env=late) as server, asking(server, "/hang?20"):
        running = wait_until(lambda: told_by_command(server, "--outcome", "running"))
    assert [("stack" in one, one["path"]) for one in running] == [(False, "/hang")]


@pytest.mark.parametrize("kind", ["sync", "gthread", "asgi"])
def test_who_holds_the_interpreter_is_listed_while_it_does(kind: str) -> None:
    """Nothing of the worker's can tell: it told in time, and whoever lists what is running reads it."""
    with doomed(kind, "--timeout", "0", workers=1) as server, asking(server, "/hold"):
        (running,) = stuck(server, 1)
        printed = command(server, "requests", "--outcome", "running").stdout
    assert functions(running)[-1] == "hold_the_interpreter"
    assert printed.splitlines()[-1].strip() == "sum(itertools.repeat(0))"
