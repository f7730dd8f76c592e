"""Servers that are told to stop, by every signal there is, while their backends are healthy, dead, hanging or
slow: they end hardly later than without us, and what was not delivered is delivered by whoever comes next.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from accounts import accounts, recover
from backends import NAMES, Slow
from fault_kit import GUNICORN, UVICORN, doomed, pids, serve
from harness import Server, connect, get, records, start, status_of, wait_until
from report import report, size

ALLOWED = 2.0  # seconds that a shutdown may take longer because of us
NOISE = 1.0  # of a machine that does other things too
WORKERS = 2
IN_HAND = WORKERS * Slow.max_batch  # a slow backend may take what a worker had to leave to the next one
REQUESTS = size(20, 2000)
EXPORTERS = ",".join(["local", *(f"backends:{name.capitalize()}" for name in NAMES)])
TRACED = {"SERVER_TRACING_EXPORTERS": EXPORTERS}
UNTRACED = {"SERVER_TRACING_ENABLED": "0"}
MENDED = {**TRACED, "BACKENDS_MENDED": "1"}

End = Callable[[Server], None]


def told(how: int) -> End:
    """The server gets this signal, and is waited for."""

    def end(server: Server) -> None:
        server.stop(how, timeout=40.0)

    return end


def replaced(server: Server) -> None:
    """HUP: new workers, and the old ones are gone."""
    old = workers_of(server.pid)
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: not any(map(alive, old)), 40.0)


def orphaned(server: Server) -> None:
    """The master is killed; its workers notice."""
    old = workers_of(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait()
    wait_until(lambda: not any(map(alive, old)), 40.0)


def workers_of(master: int) -> list[int]:
    """The processes that this one has started."""
    found = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [pid for pid in map(int, found) if "resource_tracker" not in command_of(pid, "resource_tracker")]


def command_of(pid: int, gone: str) -> str:
    """Its command line, or `gone` if it has ended meanwhile."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return gone


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def seconds_to_end(server: Server, end: End) -> float:
    began = time.monotonic()
    end(server)
    return time.monotonic() - began


def assert_delivered(state_dir: Path, count: int, how: str) -> None:
    """By the next one, to every backend, each request once, but for what a slow one was about to take when
    its worker had to go; and all of it is accounted for."""
    recover(state_dir, MENDED)
    expected = {one["span_id"] for one in records(state_dir)}
    assert len(expected) == count
    for name in NAMES:
        taken = Counter((state_dir / f"{name}.taken").read_text().split())
        lost, twice = len(expected - taken.keys()), sum(taken.values()) - len(taken)
        report(f"a server stops: {how}, each of 4 backends", requests=count, lost=lost, duplicated=twice)
        assert lost == 0, name
        assert twice <= (IN_HAND if name == "slow" else 0), name
    found = accounts(state_dir, MENDED)
    assert {one["delivered"] for one in found.values()} == {count}, found
    assert {one["pending"] for one in found.values()} == {0}, found


ENDS: dict[str, End] = {
    "TERM": told(signal.SIGTERM),
    "INT": told(signal.SIGINT),
    "QUIT": told(signal.SIGQUIT),
    "HUP": replaced,
    "master killed": orphaned,
}


SOME = [(kind, "TERM") for kind in ("gthread", "gevent", "asgi", UVICORN)]
SOME += [("sync", how) for how in ("INT", "QUIT", "HUP", "master killed")]
EVERY = [(kind, how) for kind in GUNICORN for how in ENDS if (kind, how) != (GUNICORN[-1], "master killed")]
EVERY += [(UVICORN, how) for how in ("TERM", "INT", "HUP")]  # it knows no QUIT; nor do its workers, like
# gunicorn's UvicornWorker, notice that their supervisor is gone

IMPATIENT = (
    "--timeout",
    "4",
    "--graceful-timeout",
    "3",
)  # of gunicorn, or each test would take half a minute


@pytest.mark.parametrize(("kind", "how"), size(SOME, EVERY))
def test_a_server_ends_in_time_and_the_next_one_delivers(kind: str, how: str) -> None:
    """All four backends at once, and the same server without us for comparison."""
    options = () if kind == UVICORN else IMPATIENT
    with doomed(kind, *options, env=UNTRACED) as server:
        pids(server, WORKERS)
        without = seconds_to_end(server, ENDS[how])
    with doomed(kind, *options, env=TRACED) as server:
        count = sum(asked(server).values())
        took = seconds_to_end(server, ENDS[how])
        with contextlib.suppress(OSError):
            server.stop(signal.SIGTERM, timeout=40.0)
        assert_delivered(server.state_dir, count, how)
    in_turn = 2 if (kind, how) == (UVICORN, "HUP") else 1  # it replaces one worker after the other
    assert took <= without + in_turn * ALLOWED + NOISE, (took, without)


def asked(server: Server) -> Counter[str]:
    """Who answered how many requests, once everybody has answered some."""
    answered: Counter[str] = Counter()
    until = time.monotonic() + 30.0
    while sum(answered.values()) < REQUESTS or len(answered) < WORKERS:
        assert time.monotonic() < until, answered
        answered[server.talk(get("/pid")).rpartition(b"\r\n")[2].decode()] += 1
    return answered


def test_an_upgrade_on_the_fly() -> None:
    """USR2 starts another master beside the old one, TERM ends the old: nobody's requests are missing."""
    with doomed("sync", "-p", "{root}/pid", env=TRACED) as server:
        before = asked(server)
        os.kill(server.pid, signal.SIGUSR2)
        new = Path(server.fill("{root}/pid.2"))
        wait_until(new.exists, 20.0)
        wait_until(lambda: len(workers_of(int(new.read_text()))) >= 2, 20.0)
        between = asked(server)
        os.kill(server.pid, signal.SIGTERM)
        server.process.wait(20.0)
        after = asked(server)
        wait_until(Path(server.fill("{root}/pid")).exists, 10.0)  # the new one has taken the old one's place
        master = int(Path(server.fill("{root}/pid")).read_text())
        os.kill(master, signal.SIGTERM)
        wait_until(lambda: not alive(master), 20.0)
        count = sum((before + between + after).values())
        assert_delivered(server.state_dir, count, "USR2")


def test_workers_that_are_sent_away() -> None:
    """WINCH to a daemon: its workers end in order, the master stays."""
    daemon = ["--daemon", "-p", "{root}/pid", "-w", "2"]
    argv = ["gunicorn", "-c", "python:server_tracing.gunicorn", *daemon, "dying_app:wsgi"]
    with start(argv, env=TRACED, until=accepts) as server:
        master = int(Path(server.fill("{root}/pid")).read_text())
        try:
            count = sum(asked(server).values())
            workers = workers_of(master)
            began = time.monotonic()
            os.kill(master, signal.SIGWINCH)
            wait_until(lambda: not any(map(alive, workers)), 40.0)
            took = time.monotonic() - began
            assert alive(master)
        finally:
            os.kill(master, signal.SIGTERM)
        wait_until(lambda: not alive(master), 20.0)
        assert_delivered(server.state_dir, count, "WINCH")
    assert took <= 1.0 + ALLOWED + NOISE


def accepts(server: Server) -> bool:
    """Whether a daemon takes connections; what started it has ended."""
    with contextlib.suppress(OSError):
        connect(server.address, 1.0).close()
        return True
    return False


def test_the_next_start_delivers_too() -> None:
    """No command is needed: the same server, started again, is the heir."""
    with doomed("sync", workers=1, env=TRACED) as server:
        count = sum(answered(server, 10))
        server.stop()
        with serve("sync", workers=1, env={**MENDED, "SERVER_TRACING_DIR": str(server.state_dir)}) as heir:
            wait_until(lambda: all(taken(server.state_dir, name) == count for name in NAMES), 15.0)
            heir.stop()


def answered(server: Server, count: int) -> list[bool]:
    return [status_of(server.talk(get("/pid"))) == 200 for _ in range(count)]


def taken(state_dir: Path, name: str) -> int:
    """How many requests this backend has taken."""
    with contextlib.suppress(OSError):
        return len((state_dir / f"{name}.taken").read_text().split())
    return 0
