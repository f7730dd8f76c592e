"""How large the tests of faults are, and the line that each of them adds to the table of `scripts/faults`.

SERVER_TRACING_FAULTS=long asks for the full numbers; what a test came to is appended as one line of JSON to
the file that SERVER_TRACING_FAULTS_REPORT names, if it names one. Both are read once, when this is imported:
during a test no setting of this machine counts.
"""

from __future__ import annotations

import json
import os
from typing import TypeVar

LONG = os.environ.get("SERVER_TRACING_FAULTS") == "long"
_FILE = os.environ.get("SERVER_TRACING_FAULTS_REPORT", "")

Size = TypeVar("Size")


def size(short: Size, long: Size) -> Size:
    """What to use in this run: `short` within `scripts/test`, `long` with `scripts/faults --long`."""
    return long if LONG else short


def report(
    fault: str,
    *,
    requests: int,
    lost: int = 0,
    duplicated: int = 0,
    client_errors: int = 0,
    dropped: int = 0,
    added_p99_ms: float | None = None,
) -> None:
    """Add a line to the table: what was done to it, to how many requests, and what became of them.

    `lost`: neither delivered nor counted. `dropped`: let go, and counted for a reason. `duplicated`:
    delivered more than once. `client_errors`: answers that are not what they are without tracing.
    `added_p99_ms`: what the slowest hundredth took longer than without tracing in the same run, if measured.
    """
    line = {
        "fault": fault,
        "requests": requests,
        "lost": lost,
        "dropped": dropped,
        "duplicated": duplicated,
        "client_errors": client_errors,
        "added_p99_ms": added_p99_ms,
    }
    if _FILE:
        file = os.open(_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, json.dumps(line).encode() + b"\n")  # one write: tests run in several processes
        os.close(file)
