"""A backend does everything that a backend can do wrong: no client notices, and nothing is lost."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from accounts import accounts, recover
from clients import ask, send
from harness import REPOSITORY, Server, records, start
from moody_backend import CERTIFICATE, EVERYTHING, Ingestion, Script
from report import report, size

pytestmark = pytest.mark.alone

HERE = Path(__file__).parent
REQUESTS = size(2_000, 200_000)
CLIENTS = 4
GENERATION = size(200, 10_000)  # requests after which a worker is replaced
AWAY = size([(2.0, 2.0)], [(20.0, 60.0), (150.0, 20.0)])
WORKERS = ["-w", "4", "--max-requests", str(GENERATION), "--max-requests-jitter", str(GENERATION // 10)]
SPOOL = 1 << 30  # bytes: nothing is let go for want of room
SLOWER = 1000.0  # ms, on any machine: who waited for the backend would wait for longer


EXPORTERS = {"azure": "azure", "posting": "posting:Posting"}
KEY = "00000000-0000-0000-0000-000000000000"


Settings = dict[str, str]


def servers(
    folder: Path, backend: Ingestion, exporter: str, more: Settings
) -> tuple[Server, Server, Settings]:
    """With our door, and without; and the settings of the first."""
    settings = {
        **more,
        "SERVER_TRACING_EXPORTERS": f"local,{EXPORTERS[exporter]}",
        "SERVER_TRACING_DIR": str(folder / "state"),
        "SERVER_TRACING_AZURE_TIMEOUT": "4s",
        "SERVER_TRACING_AZURE_STORAGE_MAX_SIZE": str(SPOOL),
        "INGESTION_SPOOL": str(SPOOL),
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={backend.url}/",
        "SSL_CERT_FILE": CERTIFICATE,
        "INGESTION_URL": backend.url,
        "INGESTION_CA": CERTIFICATE,
        "PYTHONPATH": f"{REPOSITORY}:{HERE}",
    }
    door = ["gunicorn", "-c", "python:server_tracing.gunicorn", *WORKERS, "numbered_app:app"]
    plain = ["gunicorn", *WORKERS, "numbered_app:app"]
    return start(door, env=settings), start(plain, env={"PYTHONPATH": settings["PYTHONPATH"]}), settings


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_every_request_is_delivered_or_counted_and_no_client_notices(tmp_path, own_memory, exporter):
    """By the count of the clients, of the backend and of our accounts, over many generations of workers."""
    script = Script(seed=20, moods=EVERYTHING, away=AWAY, tls=True)
    with Ingestion(tmp_path / "backend", script) as backend:
        traced, untraced, settings = servers(tmp_path, backend, exporter, own_memory)
        with traced, untraced:
            seen = send(traced.port, untraced.port, REQUESTS, CLIENTS, tmp_path)
            more = go_on(traced.port, lambda: set(backend.moods) == set(EVERYTHING))
            assert traced.stop(signal.SIGTERM) == 0
        backend.calm_down()
        recover(tmp_path / "state", settings)
        sums = accounts(tmp_path / "state", settings)
        taken, refused = Counter(backend.taken), Counter(backend.refused)
    requests, sent = {one for one in taken | refused if one.number}, seen.requests + more
    report(
        f"the backend of `{exporter}` fails in every way ({seen.told(50)}; {seen.told(99)})",
        requests=sent,
        lost=sent - len({one.number for one in requests}),
        dropped=sum(sums[exporter]["dropped"].values()),
        duplicated=sum(count - 1 for one, count in taken.items() if one.number),
        client_errors=len(seen.errors),
        added_p99_ms=seen.added(99),
    )
    assert seen.errors == []
    assert len(requests) == sent == len({one.number for one in requests}), "each has one id"
    assert sums["local"]["delivered"] == sums["local"]["seen"] == sent
    assert {reason.partition("_")[0] for reason in sums[exporter]["dropped"]} <= {"refused"}
    assert len(requests - set(refused)) <= sums[exporter]["delivered"] <= len(set(taken) & requests)
    assert {(one.number, one.id) for one in requests} == stored(tmp_path / "state")
    assert seen.added(50) < SLOWER
    assert seen.added(99) < SLOWER


def go_on(port: int, done: Callable[[], bool]) -> int:
    """Some requests more, until the backend has been in every mood; how many."""
    for more in range(1, 1000):
        ask(port, REQUESTS + more)
        if done():
            return more
        time.sleep(0.05)
    raise AssertionError("not in every mood")


def stored(state_dir: Path) -> set[tuple[int, str]]:
    """Numbers and ids in the local store."""
    return {(int(one["path"].rpartition("/")[2]), one["span_id"]) for one in records(state_dir)}
