"""Machines whose clock is set while they serve."""

from __future__ import annotations

import itertools
import time
from datetime import datetime
from typing import Any

import pytest
from fault_kit import GUNICORN, UVICORN, serve
from harness import Server, get, records, wait_until
from report import size

HOUR = 3600


def ahead(record: dict[str, Any]) -> float:
    """How far a record's time is ahead of the true one, which it was a moment ago."""
    return datetime.fromisoformat(record["start"]).timestamp() - time.time()


def told_when(server: Server, least: float, most: float) -> None:
    """Ask until a request's time is ahead of the true one by so much."""
    numbers = itertools.count()

    def latest() -> bool:
        path = f"/{least}/{next(numbers)}"
        server.talk(get(path))
        found = wait_until(lambda: [one for one in records(server.state_dir) if one["path"] == path], 10.0)
        return least < ahead(found[0]) < most

    wait_until(latest, 15.0)


@pytest.mark.parametrize("kind", size(("sync", "gevent", UVICORN), (*GUNICORN, UVICORN)))
def test_an_hour_forth_and_back_during_requests(kind: str) -> None:
    """No duration is wrong, and what begins after it has the new time."""
    with serve(kind, workers=1) as server:
        server.talk(get("/clock?3600"))
        told_when(server, HOUR - 15, HOUR)
        server.talk(get("/clock?-7200"))
        told_when(server, -HOUR - 15, -HOUR)
        found = records(server.state_dir)
    assert all(0 <= one["duration_ms"] < 10_000 for one in found)
    assert [one["duration_ms"] >= 300 for one in found if one["path"] == "/clock"] == [True, True]
