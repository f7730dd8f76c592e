"""A process that serves requests in threads and forks all the time; started by test_forks.py.

    forking.py STATE_DIR FORKS HOW

HOW is what a child does: `exec` (os._exit at once), `exit` (the interpreter ends in order), `serve` (goes on
as if it still were the parent, then os._exit) or `worker` (records requests of its own). Prints what it did.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import server_tracing
from server_tracing import config, worker
from server_tracing.record import Outcome

HEADERS = [("HOST", "shop")]
GIVE_UP = 60.0  # seconds for one child


def serve(traced: worker.Worker, path: str) -> None:
    """One request, with everything an application can say in it."""
    recorder = traced.recorder
    slot = recorder.begin_text("GET", path, "1.1", "http", "192.0.2.1", 1, HEADERS)
    request = server_tracing.current()
    request.annotate("path", path)
    with server_tracing.span("work"):
        server_tracing.headers()
    recorder.end(slot, Outcome.OK, 200)


def load(traced: worker.Worker, number: int, stop: threading.Event, served: list[int]) -> None:
    while not stop.is_set():
        serve(traced, f"/parent/{number}/{served[number]}")
        served[number] += 1
        time.sleep(0.005)


def child(traced: worker.Worker, how: str) -> None:
    """What a child does with what it has inherited."""
    if how == "exit":
        sys.exit(0)
    if how in ("serve", "worker"):
        assert worker.current() is None
        serve(traced, "/child")
        for slot in list(traced.recorder.open.values()):
            traced.recorder.end(slot, Outcome.ERROR, 500)
        traced.recorder.mark("child")
        traced.abort("timeout")
        traced.stop()
    if how == "worker":
        own = start(sys.argv[1])
        serve(own, "/grandchild")
        own.stop(10.0)
    os._exit(0)


def start(state_dir: str) -> worker.Worker:
    settings = {"SERVER_TRACING_DIR": state_dir, "SERVER_TRACING_SERVICE": "forking"}
    traced = worker.start(config.load(settings), server="test")
    assert traced is not None
    return traced


def waited_for(pid: int) -> int:
    """The exit code of a child; of one that hangs, -1."""
    until = time.monotonic() + GIVE_UP
    while time.monotonic() < until:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return -1


def main() -> None:
    state_dir, forks, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    traced = start(state_dir)
    server_tracing.current()
    stop, served, codes = threading.Event(), [0, 0, 0], []
    threads = [threading.Thread(target=load, args=(traced, number, stop, served)) for number in range(3)]

    def beget(share: int) -> None:
        for _ in range(share):
            pid = os.fork()
            if pid == 0:
                child(traced, how)
            codes.append(waited_for(pid))

    forker = threading.Thread(target=beget, args=(forks // 2,))
    for thread in (*threads, forker):
        thread.start()
    beget(forks - forks // 2)
    forker.join()
    stop.set()
    for thread in threads:
        thread.join()
    lost = traced.journal.lost
    traced.stop(30.0)
    print(json.dumps({"served": sum(served), "lost": lost, "codes": sorted(set(codes)), "forks": len(codes)}))


if __name__ == "__main__":
    main()
