"""A worker's process without its server: requests as fast as they are asked for, through the real recorder.

It records with the settings of its environment, looks at itself every so often, stops as a worker does, and
prints what it saw as one line of JSON. `run` does that for a test.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from statistics import linear_regression
from typing import Any, NamedTuple

import psutil

from server_tracing import config, worker
from server_tracing.record import Fault, Frame, Outcome

HEADERS = [("HOST", "shop.example:8000"), ("USER-AGENT", "curl/8.0"), ("ACCEPT", "*/*"), ("COOKIE", "a=b")]
FRAMES = [Frame(f"/srv/shop/some/module_{line}.py", line, f"function_{line}") for line in range(40)]
LOOK = 0.1  # seconds
SLICE = 0.01
AT_ONCE = 64  # requests between two looks
PATIENCE = 20.0  # seconds to stop in: how long that may take is another question
SETTLE = 2.0  # seconds for what was begun before the first look to be delivered


class Seen(NamedTuple):
    """What the process saw of itself."""

    seconds: float
    lost: int
    samples: list[tuple[int, int]]  # requests so far, bytes
    before: dict[str, int]
    after: dict[str, int]
    log: str = ""

    @property
    def growth(self) -> int:
        """Bytes that it had more, at the worst, than before the flood."""
        return max(memory for _, memory in self.samples) - self.before["memory"]

    @property
    def slope(self) -> float:
        """Bytes that it grew by for every request, once it was warm."""
        warm = self.samples[len(self.samples) // 5 :]
        return linear_regression(*zip(*warm, strict=True)).slope


def run(
    requests: int, env: Mapping[str, str], *, rate: float = 0.0, heavy: bool = False, backlog: int = 0
) -> Seen:
    """A process that serves so many requests, `rate` of them a second; `heavy` ones are long, and fail. With
    `backlog` it waits while more bytes than that are in its journal."""
    from harness import PYTHON, environment

    command = [PYTHON, __file__, str(requests), str(rate), str(int(heavy)), str(backlog)]
    done = subprocess.run(command, env=environment(env), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Seen(**json.loads(done.stdout), log=done.stderr)


# ---------------------------------------------------------------- in its process


class Flood:
    """Requests through a recorder, and how large the process is meanwhile."""

    def __init__(self, recorder: Any, heavy: bool, backlog: int) -> None:
        self._recorder = recorder
        self._backlog = backlog
        self._query = "?q=" + "x" * 3000 if heavy else ""
        self._outcome = Outcome.ERROR if heavy else Outcome.OK
        self._details = {"fault": Fault("ValueError", "x" * 500, FRAMES)} if heavy else {}
        self._process = psutil.Process()
        self._lately = 0.0
        self._done = 0
        self.samples: list[tuple[int, int]] = []

    def serve(self, requests: int, rate: float) -> float:
        """Evenly over time, or as fast as can be (0); how many seconds it took."""
        started, first, until = time.monotonic(), self._done, self._done + requests
        while self._done < until:
            due = first + int((time.monotonic() - started) * rate) if rate else until
            last = min(due, until, self._done + AT_ONCE)
            for number in range(self._done, last):
                self._one(number)
            self._done = last
            self._look()
            time.sleep(0.0 if self._done < due else SLICE)
            while self._backlog and self._recorder.journal.used > self._backlog:
                time.sleep(SLICE)
        return time.monotonic() - started

    def _one(self, number: int) -> None:
        target = f"/r/{number + 1}{self._query}"
        slot = self._recorder.begin_text("GET", target, "1.1", "http", "192.0.2.7", 4711, HEADERS)
        self._recorder.end(slot, self._outcome, 200, 1234, **self._details)

    def _look(self) -> None:
        if time.monotonic() - self._lately >= LOOK:
            self._lately = time.monotonic()
            self.samples.append((self._done, self._memory()))

    def _memory(self) -> int:
        """Resident bytes that are its own; the journal, which is mapped and shared, is of a fixed size."""
        memory = self._process.memory_info()
        return int(memory.rss - memory.shared)

    def size(self) -> dict[str, int]:
        """All of that which must not grow."""
        gc.collect()
        return {
            "memory": self._memory(),
            "blocks": sys.getallocatedblocks(),
            "fds": self._process.num_fds(),
            "threads": self._process.num_threads(),
            "files": sum(len(files) for _, _, files in os.walk(os.environ["SERVER_TRACING_DIR"])),
        }


def main(requests: int, rate: float, heavy: bool, backlog: int) -> None:
    """The process. The first of the requests come slowly, so that everything it needs is there."""
    running = worker.start(config.load(), server="test 1", worker_class="sync", app="shop:app")
    assert running is not None
    flood, slowly = Flood(running.recorder, heavy, backlog), min(requests // 10, 5000)
    flood.serve(slowly, 2000.0)
    time.sleep(SETTLE)
    flood.samples.clear()
    before = flood.size()
    seconds = flood.serve(requests - slowly, rate)
    time.sleep(SETTLE)
    after = flood.size()
    running.stop(PATIENCE)
    told = {"seconds": seconds, "lost": running.journal.lost, "samples": flood.samples}
    print(json.dumps({**told, "before": before, "after": after}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "1", int(sys.argv[4]))
