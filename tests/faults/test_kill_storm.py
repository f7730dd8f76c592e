"""Workers killed one after the other while clients ask: what the clients count is what is recorded."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter

import pytest
from accounts import accounts, command
from fault_kit import GUNICORN, UVICORN, doomed
from harness import Server, get, records, status_of, wait_until
from report import report, size
from test_shutdown import workers_of

KILLS = size(6, 300)
CLIENTS = 4
# A worker that gets its SIGTERM between its fork and its own handlers has the master's, and goes on: gunicorn
# kills it after the graceful timeout, 30 s, with and without us (ran: 3 of 12, told 12 to 56 ms after a kill)
TO_STOP = 60.0
HOW = (signal.SIGKILL, signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT)


class Clients:
    """Ask under numbers, again and again, and remember who answered."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answered: set[str] = set()
        self.unanswered: set[str] = set()
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            path = f"/n/{next(self._numbers)}"
            got = b""
            with contextlib.suppress(OSError):
                got = self.server.talk(get(path))
            (self.answered if status_of(got) == 200 else self.unanswered).add(path)

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def storm(server: Server, dice: random.Random) -> None:
    """Kill workers, each after it had a moment to serve."""
    for kill in range(KILLS):
        workers = wait_until(lambda: workers_of(server.pid), 20.0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(workers), HOW[kill % len(HOW)])
        time.sleep(dice.uniform(0.1, 0.5))  # the moment is drawn: there is nothing to wait for


@pytest.mark.parametrize("kind", size(("gthread", UVICORN), (*GUNICORN, UVICORN)))
def test_what_clients_count_is_what_is_recorded(kind: str) -> None:
    """Whoever was answered has one record, whoever was not has at most one."""
    with doomed(kind, workers=3, env={"SERVER_TRACING_JOURNAL_DIR": "{root}/journals"}) as server:
        journals = {"SERVER_TRACING_JOURNAL_DIR": server.fill("{root}/journals")}
        with Clients(server) as clients:
            storm(server, random.Random(kind))
        server.stop(timeout=TO_STOP)
        command("recover", "--state-dir", str(server.state_dir), env=journals)
        found = [one for one in records(server.state_dir) if one.get("path", "").startswith("/n/")]
        seen = accounts(server.state_dir, journals)["local"]
    told = Counter(one["path"] for one in found)
    outcomes = {one["path"]: one["outcome"] for one in found}
    lost, twice = clients.answered - told.keys(), [path for path, times in told.items() if times > 1]
    fault = f"workers are killed {KILLS} times, {kind}"
    report(fault, requests=len(told), lost=len(lost), duplicated=len(twice))
    assert (lost, twice) == (set(), [])
    # In the instant between the last byte and the note of it, a kill leaves an answered request open.
    wrong = [path for path in clients.answered if outcomes[path] != "ok"]
    assert len(wrong) <= KILLS
    assert len({one["span_id"] for one in found}) == len(found)
    assert (seen["in_flight"], seen["pending"]) == (0, 0)
