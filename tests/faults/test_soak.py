"""A long time: nothing grows with the number of requests."""

from __future__ import annotations

import pytest
from accounts import accounts
from flood import run
from moody_backend import Ingestion, Script
from report import LONG, report, size
from test_pressure import IN_HAND, settings

pytestmark = pytest.mark.alone

REQUESTS = size(40_000, 1_000_000)
RATE = 8_000.0  # a second, or what this machine can deliver
BACKLOG = 256 << 10  # bytes in the journal
BYTES_PER_REQUEST = 1.024  # 1 KiB for 1,000
BLOCKS = 20_000  # of CPython's, which a few batches more or less in hand make up


def test_nothing_grows_with_the_number_of_requests(tmp_path, own_memory):
    """Memory, descriptors, threads, files; the slope of memory is only seen over a long time."""
    with Ingestion(tmp_path / "backend", Script()) as backend:
        env = settings(tmp_path, backend) | own_memory
        seen = run(REQUESTS, env, rate=RATE, backlog=BACKLOG)
        sums = accounts(tmp_path / "state", env)
        arrived = [one.number for one in backend.taken if one.number]
    report(
        f"a long time (memory {seen.slope * 1000 / 1024:+.3f} KiB for 1,000 requests)",
        requests=REQUESTS,
        lost=REQUESTS - len(set(arrived)),
        duplicated=len(arrived) - len(set(arrived)),
    )
    for one in sums.values():
        assert (one["delivered"], one["pending"]) == (REQUESTS, 0)
    assert REQUESTS == len(set(arrived)) >= len(arrived) - IN_HAND
    for what in ("fds", "threads", "files"):
        assert seen.after[what] <= seen.before[what], (what, seen.before, seen.after)
    assert seen.after["blocks"] - seen.before["blocks"] < BLOCKS
    if LONG:
        assert seen.slope < BYTES_PER_REQUEST
