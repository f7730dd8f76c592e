"""What the tests of faults share: every server there is, with the same application behind it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from harness import PYTHON, Server, body_of, connect, environment, get, records, start, wait_until

DOOR = ["-c", "python:server_tracing.gunicorn"]
GUNICORN_WSGI = ("sync", "gthread", "gevent")
GUNICORN_ASGI = ("asgi", "uvicorn_worker.UvicornWorker")
GUNICORN = (*GUNICORN_WSGI, *GUNICORN_ASGI)
UVICORN = "uvicorn"
ALL = (*GUNICORN, UVICORN)
LOOPS = (*GUNICORN_ASGI, UVICORN)

MODULES = {"asgi": "gunicorn.workers.gasgi", "sync": "gunicorn", "gthread": "gunicorn"}


@functools.cache
def installed(module: str) -> bool:
    """Whether the interpreter under test has this module."""
    return subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0


def serve(kind: str, *options: str, workers: int = 2, env: Mapping[str, str] | None = None) -> Server:
    """The application of dying_app.py behind a server of this kind, recorded."""
    if not installed(MODULES.get(kind, kind.partition(".")[0])):
        pytest.skip(f"{kind} is not installed")
    if kind == UVICORN:
        many = ["--workers", str(workers)] if workers > 1 else []
        argv = ["uvicorn", "--factory", "server_tracing.uvicorn:create_app", *many, *options]
        return start(argv, env={"SERVER_TRACING_APP": "dying_app:asgi", **(env or {})})
    app = "dying_app:asgi" if kind in GUNICORN_ASGI else "dying_app:wsgi"
    threads = ["--threads", "4"] if kind == "gthread" else []
    return start(["gunicorn", *DOOR, "-k", kind, "-w", str(workers), *threads, *options, app], env=env)


@contextmanager
def doomed(kind: str, *options: str, **given: Any) -> Iterator[Server]:
    """The same, ended without waiting for requests that hang."""
    with serve(kind, *options, **given) as server:
        try:
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


@contextmanager
def asking(server: Server, *paths: str) -> Iterator[list[socket.socket]]:
    """Requests on their way, each on a connection of its own; the server has begun them all."""
    asked = []
    try:
        for path in paths:
            connection = connect(server.address)
            connection.sendall(get(path))
            asked.append(connection)
        yield asked
    finally:
        for connection in asked:
            connection.close()


def told_by_command(server: Server, *arguments: str) -> list[dict[str, Any]]:
    """What `server-tracing requests --json` prints with these arguments."""
    printed = command(server, "requests", "--json", "--limit", "0", *arguments)
    assert printed.returncode in (0, 1), printed.stderr
    return [json.loads(line) for line in printed.stdout.splitlines()]


def command(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`server-tracing` over the state of this server."""
    return subprocess.run(
        [PYTHON, "-m", "server_tracing.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment({"SERVER_TRACING_DIR": str(server.state_dir)}),
        timeout=60,
        cwd=server.root,
    )


def begun(server: Server, count: int) -> list[dict[str, Any]]:
    """What is running, once it is so many requests."""

    def enough() -> list[dict[str, Any]]:
        running = told_by_command(server, "--outcome", "running")
        return running if len(running) >= count else []

    return wait_until(enough, 20.0)


def functions(record: dict[str, Any]) -> list[str]:
    """The functions of a record's stack, the innermost last."""
    lines = record.get("stack", "").splitlines()
    return [line.rpartition(" in ")[2] for line in lines if line.startswith("  File ")]


def killed(server: Server, count: int = 1, within: float = 5.0) -> list[dict[str, Any]]:
    """The records of killed requests, once there are so many."""

    def enough() -> list[dict[str, Any]]:
        found = [one for one in records(server.state_dir) if one["outcome"] == "killed"]
        return found if len(found) >= count else []

    try:
        return wait_until(enough, within)
    except AssertionError:
        seen = [(one["path"], one["outcome"], one.get("reason")) for one in records(server.state_dir)]
        raise AssertionError(f"not {count} killed within {within} s, but {seen}\n{server.log()}") from None


def pids(server: Server, count: int) -> set[int]:
    """The workers that answer, once it is so many of them."""
    found: set[int] = set()

    def asked() -> bool:
        found.add(int(body_of(server.talk(get("/pid")))))
        return len(found) >= count

    wait_until(asked, 20.0)
    return found


def acquainted(server: Server, workers: int = 2) -> set[int]:
    """The workers, once each watches the others: it has descriptors of their processes."""
    found = pids(server, workers)
    wait_until(lambda: all(watched(pid) >= workers - 1 for pid in found), 10.0)
    return found


def watched(pid: int) -> int:
    """How many processes this one has descriptors of."""
    found = 0
    for file in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += os.readlink(f"/proc/{pid}/fd/{file}") == "anon_inode:[pidfd]"
    return found


def kill(pid: int, how: int = signal.SIGKILL) -> None:
    os.kill(pid, how)
