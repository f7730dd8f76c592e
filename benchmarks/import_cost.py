"""What a door adds to the start of a server, against the budget; see README.md beside this.

    python benchmarks/import_cost.py

Exit code 0 if the budget is kept.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from measure import where

BUDGET = 60.0  # milliseconds, before any backend is used
DOORS = {"server_tracing.gunicorn": "gunicorn.app.wsgiapp", "server_tracing.uvicorn": "uvicorn.main"}
ROUNDS = 11
SCRIPT = """
import sys, {server}
from time import perf_counter
before, known = perf_counter(), set(sys.modules)
import {door}
print((perf_counter() - before) * 1000, len(set(sys.modules) - known))
"""


def main() -> int:
    """Import each door into a process that has its server already, several times, in turn."""
    print(where(["gunicorn", "uvicorn", "msgspec"]))
    taken: dict[str, list[float]] = {door: [] for door in DOORS}
    modules = {}
    # Everybody's modules are compiled once: a round that is not counted sees to that.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number in range(ROUNDS + 1):
        for door, server in DOORS.items():
            script = SCRIPT.format(server=server, door=door)
            printed = subprocess.check_output([sys.executable, "-c", script], env=environment)
            if number == 0:
                continue
            milliseconds, count = printed.split()
            taken[door].append(float(milliseconds))
            modules[door] = int(count)
    for door, times in taken.items():
        middle = statistics.median(times)
        verdict = "kept  " if middle <= BUDGET else "MISSED"
        spread = f"({min(times):.0f} to {max(times):.0f}), {modules[door]} modules"
        print(f"{door:28}{middle:6.1f} ms  {spread:28}{verdict}: budget {BUDGET:.0f} ms")
    return 0 if all(statistics.median(times) <= BUDGET for times in taken.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
