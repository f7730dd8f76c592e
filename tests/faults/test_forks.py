"""Processes that fork: no deadlock, no id twice, nothing of the parent's touched by a child."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from accounts import accounts
from fault_kit import UVICORN, serve
from harness import PYTHON, Server, environment, get, records, status_of
from report import report, size

FORKING = Path(__file__).with_name("forking.py")
FORKS = size(100, 10_000)
WORKERS_BORN = size(10, 500)


def fork(state_dir: Path, forks: int, how: str) -> dict[str, Any]:
    """Run forking.py; a deadlock of its own ends it by this limit."""
    done = subprocess.run(
        [PYTHON, "-W", "ignore", str(FORKING), str(state_dir), str(forks), how],
        capture_output=True,
        text=True,
        env=environment({}),
        timeout=60 + forks,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("how", ["exec", "exit", "serve"])
def test_children_leave_no_trace(tmp_path: Path, how: str) -> None:
    """Whether they are gone at once, end in order or go on as if they were the parent, forked from two
    threads while three others serve: the parent's records are the parent's requests, each with its own id."""
    told = fork(tmp_path, FORKS, how)
    assert (told["codes"], told["forks"]) == ([0], FORKS)
    found = records(tmp_path)
    lost = told["served"] - told["lost"] - len(found)
    ids = {one["span_id"] for one in found}
    report(
        f"{FORKS:,} forks, whose children {how}",
        requests=told["served"],
        lost=lost,
        duplicated=len(found) - len(ids),
    )
    assert lost == 0
    assert len(ids) == len(found)
    assert {one["outcome"] for one in found} == {"ok"}
    assert not [one for one in found if one["path"] == "/child"]
    assert_balanced(tmp_path, told["served"])


def assert_balanced(state_dir: Path, seen: int) -> None:
    """It adds up, all were seen, and nothing is left in the air."""
    local = accounts(state_dir)["local"]
    assert (local["seen"], local["in_flight"], local["pending"]) == (seen, 0, 0), local


def test_a_child_that_serves_has_a_journal_and_ids_of_its_own(tmp_path: Path) -> None:
    """It starts to record as any worker does."""
    told = fork(tmp_path, WORKERS_BORN, "worker")
    assert told["codes"] == [0]
    found = records(tmp_path)
    by_path = Counter(one["path"].split("/")[1] for one in found)
    assert by_path["grandchild"] == WORKERS_BORN
    assert by_path["parent"] == told["served"] - told["lost"]
    assert len({one["span_id"] for one in found}) == len(found)
    assert_balanced(tmp_path, told["served"] + WORKERS_BORN)


BEGETTING = ("/fork?3", "/process?fork", "/process?spawn", "/process?forkserver", "/program")


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent", "uvicorn_worker.UvicornWorker"])
def test_an_application_that_begets_processes_is_served_as_without(kind: str) -> None:
    """By every means that Python has, under load, loaded before the fork where that goes."""
    preload = ["--preload"] if kind != "gevent" else []
    with serve(kind, *preload, workers=2) as server:
        paths = [path for path in BEGETTING for _ in range(size(4, 200))] + ["/plain"] * size(100, 5000)
        with ThreadPoolExecutor(4) as clients:
            statuses = Counter(clients.map(lambda path: status_of(server.talk(get(path), 60.0)), paths))
        assert server.stop(timeout=30.0) == 0
        assert_told_once(server, len(paths), f"the application begets processes, {kind}")
    assert statuses == {200: len(paths)}, server.log()


def assert_told_once(server: Server, count: int, fault: str) -> None:
    """Every request that was answered is one record, and is accounted for."""
    found = server.records(count)
    ids = {one["span_id"] for one in found}
    report(fault, requests=count, lost=count - len(ids), duplicated=len(found) - len(ids))
    assert (len(found), len(ids)) == (count, count)
    assert [one for one in found if one["outcome"] != "ok"] == []
    assert_balanced(server.state_dir, count)


EVERY_LIMIT = [(kind, limit) for kind in ("sync", "gthread") for limit in (1, 2, 5, 10)]
SOME_LIMITS = [("sync", 1), ("gthread", 2), ("sync", 5), ("gthread", 10)]


@pytest.mark.parametrize(("kind", "limit"), size(SOME_LIMITS, EVERY_LIMIT))
def test_workers_that_are_replaced_all_the_time_lose_nothing(kind: str, limit: int) -> None:
    """`max_requests`: each worker serves so many and is gone."""
    asked = size(30, 2000)
    # New workers all the time: one that a SIGTERM meets too early is killed after this timeout of gunicorn's.
    patience = ["--graceful-timeout", "5"]
    with serve(kind, "--max-requests", str(limit), *patience, workers=2) as server:
        answered = sum(answers(server, f"/{number}") for number in range(asked))
        assert server.stop(timeout=30.0) == 0
        found = records(server.state_dir)
        served = [one for one in found if one["outcome"] == "ok"]
        assert len({one["span_id"] for one in found}) == len(found)
        assert answered <= len(served) <= asked
        assert_balanced(server.state_dir, len(found))
        lost = max(0, answered - len(served))
        report("workers are replaced after 1, 2, 5 or 10 requests", requests=asked, lost=lost)


def answers(server: Server, path: str) -> bool:
    """Whether the client got its answer; gunicorn itself may reset one that arrives as a worker leaves."""
    try:
        return status_of(server.talk(get(path))) == 200
    except OSError:
        return False


def test_uvicorns_workers_are_replaced_too() -> None:
    """`--limit-max-requests` and its supervisor."""
    asked = size(20, 500)
    with serve(UVICORN, "--limit-max-requests", "5", workers=2) as server:
        answered = sum(answers(server, f"/{number}") for number in range(asked))
        assert server.stop(timeout=30.0) == 0
        found = records(server.state_dir)
        assert len({one["span_id"] for one in found}) == len(found) >= answered
        assert_balanced(server.state_dir, len(found))
