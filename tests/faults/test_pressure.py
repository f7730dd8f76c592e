"""More requests than anybody takes: memory stays within bounds, what is let go is counted to the last one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from accounts import accounts, recover
from flood import run
from harness import REPOSITORY, events
from moody_backend import Ingestion, Script
from report import report, size

pytestmark = pytest.mark.alone

HERE = Path(__file__).parent
JOURNAL = 8 << 20  # bytes, the default
RATE, TAKES = 20_000.0, 1_000.0  # a second: what comes, and what the backend takes
WORKERS = 4
IN_HAND = 1_500  # what one call may hold when its worker ends before the answer: nobody knows that it came
SPOOL = size(1 << 20, 50 << 20)
KINDS = {  # requests, and whether they are long ones that fail
    "short requests": (size(30_000, 1_200_000), False),
    "long requests that fail": (size(10_000, 100_000), True),
}


def settings(folder: Path, backend: Ingestion) -> dict[str, str]:
    """Of a worker that delivers to the store and to the backend."""
    return {
        "SERVER_TRACING_EXPORTERS": "local,posting:Posting",
        "SERVER_TRACING_DIR": str(folder / "state"),
        "INGESTION_URL": backend.url,
        "INGESTION_SPOOL": str(SPOOL),
        "PYTHONPATH": f"{REPOSITORY}:{HERE}",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_memory_stays_within_bounds_and_every_drop_is_counted(tmp_path, own_memory, kind):
    """20,000 requests a second for a backend that takes 1,000; the loss is said once, and what it came to."""
    requests, heavy = KINDS[kind]
    with Ingestion(tmp_path / "backend", Script(rate=TAKES)) as backend:
        env = settings(tmp_path, backend) | own_memory
        seen = run(requests, env, rate=RATE, heavy=heavy)
        sums = accounts(tmp_path / "state", env)
        backend.calm_down()
        recover(tmp_path / "state", env)
        rest = accounts(tmp_path / "state", env)["posting"]
        taken = backend.taken
    arrived = [one.number for one in taken if one.number]
    lost = sum(sums["posting"]["dropped"].values())
    report(
        f"{RATE:,.0f} a second, the backend takes {TAKES:,.0f}: {kind} (memory +{seen.growth >> 10:,} KiB)",
        requests=requests,
        lost=requests - len(set(arrived)) - sum(rest["dropped"].values()),
        dropped=sum(rest["dropped"].values()),
        duplicated=len(arrived) - len(set(arrived)),
    )
    assert seen.growth < JOURNAL * 1.1
    assert lost > 0
    assert (rest["seen"], rest["pending"]) == (requests, 0)
    assert rest["delivered"] == len(set(arrived)) >= len(arrived) - IN_HAND
    assert sums["posting"]["dropped"] == rest["dropped"], "what waits on disk at the end is delivered"
    for exporter, one in sums.items():
        dropped = sum(one["dropped"].values())
        said = seen.log.count(f"loss: {exporter}: ")
        over = seen.log.count(f"loss ended: {exporter}: {dropped} requests dropped ")
        assert said == over == bool(dropped), seen.log
    assert {"loss", "loss ended"} <= set(events(tmp_path / "state"))
    assert "loss ended" in {one.id for one in taken}


def test_workers_that_share_a_spool_count_each_drop_once(tmp_path, own_memory):
    """Four of them, whichever lets go of what another one wrote; what they leave behind is added up, too."""
    requests = size(6_000, 100_000)
    with Ingestion(tmp_path / "backend", Script(rate=TAKES)) as backend, ThreadPoolExecutor(WORKERS) as pool:
        env = settings(tmp_path, backend) | own_memory | {"INGESTION_SPOOL": str(size(256 << 10, 8 << 20))}
        workers = list(pool.map(lambda _: run(requests, env, rate=RATE / WORKERS), range(WORKERS)))
        backend.calm_down()
        recover(tmp_path / "state", env)
        sums = accounts(tmp_path / "state", env)
        arrived = [one.id for one in backend.taken if one.number]
    dropped, total = sum(sums["posting"]["dropped"].values()), requests * WORKERS
    report(
        f"{WORKERS} workers, {RATE:,.0f} a second, the backend takes {TAKES:,.0f}",
        requests=total,
        lost=max(0, total - len(set(arrived)) - dropped),
        dropped=dropped,
        duplicated=len(arrived) - len(set(arrived)),
    )
    assert {one["seen"] for one in sums.values()} == {total}
    assert dropped > 0
    delivered, unanswered = sums["posting"]["delivered"], IN_HAND * WORKERS
    assert delivered == total - dropped
    assert delivered <= len(set(arrived)) <= len(arrived) <= delivered + unanswered
    assert max(seen.log.count("loss: posting: ") for seen in workers) == 1


def test_a_journal_that_is_full_lets_go_of_the_newest_and_counts_them(tmp_path, own_memory):
    """As fast as one core can, into the smallest journal there is: for every exporter the same, exactly."""
    requests = size(30_000, 1_000_000)
    with Ingestion(tmp_path / "backend", Script()) as backend:
        env = settings(tmp_path, backend) | own_memory | {"INGESTION_SPOOL": str(1 << 30)}
        seen = run(requests, env | {"SERVER_TRACING_JOURNAL_SIZE": "256KiB"})
        recover(tmp_path / "state", env)
        sums = accounts(tmp_path / "state", env)
        arrived = [one.number for one in backend.taken if one.number]
    report(
        "more than a journal of 256 KiB can hold",
        requests=requests,
        lost=requests - len(set(arrived)) - seen.lost,
        dropped=seen.lost,
        duplicated=len(arrived) - len(set(arrived)),
    )
    assert seen.lost > 0
    for one in sums.values():
        assert (one["seen"], one["dropped"]) == (requests, {"full": seen.lost})
    assert sums["posting"]["delivered"] == len(set(arrived)) >= len(arrived) - IN_HAND
    assert {"loss", "loss ended"} <= set(events(tmp_path / "state"))
