"""Real servers with the exporter `xray`, and a daemon that holds every document to the schema."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from harness import Server, body_of, get, start, wait_until
from standin_daemon import Daemon
from test_bridges import has_libraries
from test_response_header import KINDS, installed

ROOT, PARENT = "1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
PATHS = ("/hello", "/missing", "/boom", "/midstream", "/stream")


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon() as daemon:
        yield daemon


def settings(daemon: Daemon) -> dict[str, str]:
    """What sends everything to the daemon."""
    return {
        "SERVER_TRACING_EXPORTERS": "xray,local",
        "SERVER_TRACING_SERVICE": "shop?",
        "SERVER_TRACING_XRAY_SAMPLING": "ratio",
        "AWS_XRAY_DAEMON_ADDRESS": daemon.address,
    }


def serve(kind: str, daemon: Daemon, **more: str) -> Server:
    """A server of this kind that sends to the daemon."""
    if not installed(kind):
        pytest.skip(f"{kind} is not installed")
    env = {**settings(daemon), **more}
    if kind.startswith("uvicorn "):
        return start([*KINDS[kind]], {"SERVER_TRACING_APP": "asgi_app:app", **env})
    return start(KINDS[kind], env)


def by_path(segments: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each by the path it was for."""
    paths = [one["http"]["request"].get("url", "").partition("://")[2] for one in segments]
    return {
        "/" + path.partition("/")[2].partition("?")[0]: one for path, one in zip(paths, segments, strict=True)
    }


def flags(segment: dict[str, Any]) -> list[str]:
    return [flag for flag in ("error", "throttle", "fault") if flag in segment]


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent", "uvicorn_worker.UvicornWorker", "uvicorn h11"])
def test_every_request_is_a_segment(kind, daemon):
    """Answered, not found, failed, broken off, streamed, refused: as the client got it."""
    with serve(kind, daemon) as server:
        for path in PATHS:
            server.talk(get(path, f"X-Amzn-Trace-Id: Root={ROOT};Parent={PARENT};Sampled=1"))
        server.talk(b"GARBAGE\r\n\r\n")
        wait_until(lambda: len(daemon.settled()) >= 6, 20)
    found = by_path(daemon.settled())
    assert len(daemon.settled()) == 6
    assert {path: flags(found[path]) for path in PATHS} == {
        "/hello": [],
        "/missing": ["error"],
        "/boom": ["fault"],
        "/midstream": ["fault"],
        "/stream": [],
    }
    hello, boom = found["/hello"], found["/boom"]
    assert (hello["name"], hello["trace_id"], hello["parent_id"]) == ("shop", ROOT, PARENT)
    assert hello["http"]["response"] == {"status": 200, "content_length": 5}
    assert hello["http"]["request"]["url"] == "http://test/hello"
    assert [one["type"] for one in boom["cause"]["exceptions"]] == ["ValueError", "KeyError"]
    assert found["/stream"]["end_time"] - found["/stream"]["start_time"] >= 0.25
    assert len({one["id"] for one in found.values()}) == len(found)
    refused = next(one for one in daemon.settled() if one["http"].get("response", {}).get("status") == 400)
    assert flags(refused) == ["error"]


def test_a_long_request_is_in_progress_and_a_killed_one_a_fault(daemon):
    """The same segment, before and after its worker died."""
    with serve("gthread", daemon) as server:
        worker = int(body_of(server.talk(get("/pid"))))
        asking = threading.Thread(target=server.talk, args=(get("/slow?60"), 70))
        asking.start()
        (running,) = wait_until(lambda: [one for one in daemon.settled() if one.get("in_progress")], 30)
        os.kill(worker, signal.SIGKILL)
        asking.join(30)
        killed = wait_until(lambda: [one for one in daemon.settled() if one["id"] == running["id"]][1:], 30)
    (segment,) = killed
    assert flags(segment) == ["fault"]
    assert segment["cause"]["exceptions"][0]["message"].endswith("was killed: signal 9")
    assert segment["trace_id"] == running["trace_id"]
    assert segment["end_time"] - segment["start_time"] >= 4


def test_a_server_whose_daemon_comes_later_loses_nothing():
    """What was served meanwhile waits on disk, over a restart too."""
    with Daemon() as gone:
        address = gone.address
    with serve("sync", gone) as server:
        for number in range(5):
            server.talk(get(f"/early{number}"))
        server.wait_for_log(f"exporter xray: nobody listens at {address} (UDP); start the X-Ray daemon there")
        server.stop()
        state, root = server.state_dir, server.root
        with Daemon(port=gone.port) as late:
            env = {"SERVER_TRACING_DIR": str(state), "HOME": str(root)}
            with serve("sync", late, **env) as again:
                again.talk(get("/late"))
                wait_until(lambda: len(late.settled()) >= 6, 30)
            paths = sorted(by_path(late.settled()))
    assert paths == [f"/early{number}" for number in range(5)] + ["/late"]


def test_x_ray_switched_off_is_off(daemon):
    """`AWS_XRAY_SDK_ENABLED=false`: the other exporters go on."""
    with serve("sync", daemon, AWS_XRAY_SDK_ENABLED="false") as server:
        server.talk(get("/hello"))
        assert [one["path"] for one in server.records(1)] == ["/hello"]
    assert daemon.settled() == []


def test_what_the_sdk_is_told_arrives_as_subsegments(daemon):
    """Of an application that uses it and was not changed: in each other, with sqlite3 instrumented."""
    if not has_libraries():
        pytest.skip("the X-Ray SDK is not installed")
    argv = [word.replace("wsgi_app:app", "bridged_app:wsgi") for word in KINDS["gthread"]]
    env = {"SERVER_TRACING_XRAY_PATCH": "sqlite3", **settings(daemon)}
    with start(argv, env) as server:
        server.talk(get("/visit/ada"))
        (segment,) = daemon.wait_for(1)
    (outer,) = segment["subsegments"]
    assert (segment["user"], segment["annotations"]["xray"]) == ("ada", "ada")
    assert (outer["name"], outer["annotations"]) == ("outer ada", {"name": "ada"})
    inner = {one["name"]: one for one in outer["subsegments"]}
    assert set(inner) == {":memory:", "thread ada"}
    query = inner[":memory:"]
    assert query["namespace"] == "remote"
    assert query["sql"]["database_version"]
