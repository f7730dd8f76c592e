"""A killed worker explains itself: what was in flight, why it died, and where each request was, within 5 s.

Through a sibling's exporters, or a successor's; on the local store, in the JSON lines and on the console.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accounts import accounts
from fault_kit import (
    ALL,
    GUNICORN,
    LOOPS,
    UVICORN,
    acquainted,
    asking,
    begun,
    command,
    doomed,
    functions,
    killed,
)
from harness import Server, wait_until
from report import report, size

EVERYWHERE = {"SERVER_TRACING_EXPORTERS": "local,jsonl,console"}
DEATHS = {
    "/signal?SIGKILL": "signal 9",
    "/exit?7": "exit 7",
    "/crash": "signal 11",
    "/signal?SIGSEGV": "signal 11",
}
WITHIN = 5.0


def assert_explained(record: dict[str, Any], path: str, reason: str) -> None:
    """Everything that is promised of a killed request."""
    assert (record["outcome"], record["reason"]) == ("killed", reason)
    assert (record["method"], record["path"]) == ("GET", path.partition("?")[0])
    assert record["client_ip"] == "127.0.0.1"
    assert 0 <= record["duration_ms"] < 60_000
    assert record["vitals"]["rss_bytes"] > 1 << 20
    assert record["vitals"]["worker_pid"] == record["worker_pid"]


ALL_WAYS = [(kind, path) for kind in ALL for path in DEATHS]
SOME_WAYS = [(kind, "/signal?SIGKILL") for kind in ALL]
SOME_WAYS += [(kind, path) for kind in ("sync", "gevent", UVICORN) for path in ("/exit?7", "/crash")]


@pytest.mark.parametrize(("kind", "path"), size(SOME_WAYS, ALL_WAYS))
def test_whatever_kills_a_worker_its_request_says_so(kind: str, path: str) -> None:
    """On every worker: method, path, client, how long it ran, the reason, and the worker's last vitals."""
    with doomed(kind, env=EVERYWHERE) as server:
        acquainted(server)
        with asking(server, path):
            (record,) = killed(server, within=WITHIN + 1.0)  # in which it also has to be asked and to die
        wait_until(lambda: len(in_json_lines(server)) == 1, 2.0)
        (line,) = in_json_lines(server)
        server.wait_for_log("killed", 2.0)
    assert_explained(record, path, DEATHS[path])
    assert_explained(line, path, DEATHS[path])
    if path == "/crash":
        assert functions(record)[-2:] == ["crash", "string_at"]


def in_json_lines(server: Server) -> list[dict[str, Any]]:
    """The killed requests in the file of the jsonl exporter."""
    found = []
    for file in server.state_dir.glob("*.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        found += [line for line in lines if line.get("outcome") == "killed"]
    return found


@pytest.mark.parametrize("kind", ["gthread", "gevent", *LOOPS])
def test_every_request_in_flight_is_told(kind: str) -> None:
    """Not only the one that did it."""
    waiting = "/wait" if kind in LOOPS else "/hang"
    paths = [f"{waiting}?{seconds}" for seconds in (30, 31, 32)]
    with doomed(kind, workers=1) as server, asking(server, *paths):
        begun(server, 3)
        with asking(server, "/signal?SIGKILL"):
            if kind == UVICORN:
                server.process.wait(10)
                assert command(server, "recover").returncode == 0
            found = killed(server, 4, within=WITHIN + 5.0)
        local = wait_until(lambda: settled(server), 15.0)
    report("a worker is killed with four in flight", requests=local["seen"], lost=4 - len(found))
    assert sorted(one["query"] for one in found) == ["30", "31", "32", "SIGKILL"]
    assert {one["reason"] for one in found} == {"unknown" if kind == UVICORN else "signal 9"}


def settled(server: Server) -> dict[str, Any] | None:
    """The account of the local store, once nothing is in flight; it adds up at any time."""
    local = accounts(server.state_dir)["local"]
    return None if local["in_flight"] else local


ALL_HANGS = [(kind, path) for kind in GUNICORN for path in ("/hang", "/hold")]
SOME_HANGS = [
    ("sync", "/hang"),
    (GUNICORN[-1], "/hang"),
    ("gthread", "/hold"),
    ("gevent", "/hold"),
    ("asgi", "/hold"),
]


@pytest.mark.parametrize(("kind", "path"), size(SOME_HANGS, ALL_HANGS))
def test_a_worker_that_hangs_is_killed_for_its_timeout_and_says_where(kind: str, path: str) -> None:
    """Also where native code holds the interpreter: then nothing of Python's could have told."""
    if kind in ("gthread", "gevent") and path == "/hang":
        pytest.skip("its heart beats on")
    with doomed(kind, "--timeout", "3", "--graceful-timeout", "1") as server, asking(server, path):
        (record,) = killed(server, within=15.0 + WITHIN)
    assert_explained(record, path, "timeout")
    assert record["duration_ms"] >= 2500
    assert functions(record)[-1] == {"/hang": "hang_here", "/hold": "hold_the_interpreter"}[path]


def test_a_uvicorn_worker_that_answers_no_more_says_where_it_was() -> None:
    """Its supervisor kills it when it misses its health check."""
    with doomed(UVICORN) as server:
        acquainted(server)
        with asking(server, "/hold"):
            (record,) = killed(server, within=20.0 + WITHIN)
    assert_explained(record, "/hold", "signal 9")
    assert functions(record)[-1] == "hold_the_interpreter"


def test_threads_have_their_own_stacks_when_the_interpreter_is_held() -> None:
    """The one that holds it, and those that wait for something else."""
    with doomed("gthread", "--timeout", "3", workers=1) as server, asking(server, "/hang?30"):
        begun(server, 1)
        with asking(server, "/hold"):
            found = {one["path"]: one for one in killed(server, 2, within=15.0 + WITHIN)}
    assert functions(found["/hang"])[-1] == "hang_here"
    assert functions(found["/hold"])[-1] == "hold_the_interpreter"


def test_a_successor_tells_of_a_lone_worker() -> None:
    """Nobody was there when it died but the master."""
    with doomed("sync", workers=1) as server, asking(server, "/signal?SIGKILL"):
        (record,) = killed(server, within=WITHIN + 5.0)
    assert_explained(record, "/signal", "signal 9")


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group whose processes may have 200 MB and no more."""
    first = Path("/sys/fs/cgroup/memory")
    parent, limit = (first, "limit_in_bytes") if first.exists() else (first.parent, "max")
    group = parent / f"server-tracing-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / f"memory.{limit}").write_text(str(200 << 20))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text(), 10.0)
    group.rmdir()


@pytest.mark.parametrize("kind", ["sync", UVICORN])
def test_a_worker_that_the_kernel_kills_for_want_of_memory(kind: str, little_memory: Path) -> None:
    """SIGKILL like any other; that it was for memory is told."""
    with doomed(kind) as server:
        acquainted(server)
        group = [str(server.pid), *children(server.pid)]
        for pid in group:
            (little_memory / "cgroup.procs").write_text(pid)
        with asking(server, "/eat"):
            (record,) = killed(server, within=20.0 + WITHIN)
    assert_explained(record, "/eat", "signal 9 (out of memory)")


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
