"""What recording adds to a process in all, exporter threads included, against the budget; see README.md.

    python benchmarks/whole_path.py [--quick]

Exit code 0 if every budget is kept and every record was delivered.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import subjects
from measure import Block, where

from server_tracing import config, worker

BUDGET = 15.0  # microseconds per request and backend
PEER_SHARE = 1 / 10  # of OpenTelemetry delivering by OTLP over HTTP, the cheapest peer there is
BURST, PAUSE = 40, 0.01  # at most 4,000 requests a second: a busy worker, not one that can do nothing else
Contestant = tuple[Block, Callable[[], None], Callable[[], dict[str, float]]]
PACKAGES = ("msgspec", "gunicorn", "opentelemetry-sdk")
COLLECTOR = os.path.join(os.path.dirname(__file__), "collector.py")
BACKENDS = ("local", "jsonl", "xray", "azure")


def main() -> int:
    """Run every contestant in processes of its own, in turn, and judge."""
    parser = argparse.ArgumentParser(description="what recording adds to a process in all")
    parser.add_argument("--quick", action="store_true", help="a quarter of the requests")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(serve(options.contestant, 4_000 if options.quick else 16_000)))
        return 0
    print(where(PACKAGES))
    taken = rounds(5, ["--quick"] if options.quick else [])
    peer, silent = (difference(taken, name, "plain wsgi") for name in ("otlp", "otel"))
    print("CPU added to the process per request: median of 5 rounds (least to most)")
    kept = [judged(backend, taken, peer) for backend in BACKENDS]
    print(f"{'OpenTelemetry, by OTLP':32}{told(peer)}")
    print(f"{'OpenTelemetry, sending nothing':32}{told(silent)}")
    return 0 if all(kept) else 1


def rounds(count: int, options: list[str]) -> dict[str, list[dict[str, float]]]:
    """What each contestant's process took, once per round, in an order shuffled every round."""
    names = ["plain hooks", "plain wsgi", "otel", "otlp", *BACKENDS]
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(count):
        for name in random.Random(len(taken["otel"])).sample(names, len(names)):
            command = [sys.executable, __file__, "--contestant", name, *options]
            taken[name].append(json.loads(subprocess.check_output(command)))
    return taken


def judged(backend: str, taken: dict[str, list[dict[str, float]]], peer: list[float]) -> bool:
    """Print one line; whether its budgets are kept and nothing was lost."""
    cost = difference(taken, backend, "plain hooks")
    middle, share = statistics.median(cost), statistics.median(peer) / statistics.median(cost)
    complete = all(one["delivered"] == one["seen"] for one in taken[backend])
    kept = middle <= BUDGET and share * PEER_SHARE >= 1 and complete
    verdict = "kept  " if kept else "MISSED"
    lost = "" if complete else ", and records were lost"
    budgets = f"budget {BUDGET:.0f} us; 1/{share:.1f}, budget 1/{1 / PEER_SHARE:.0f}{lost}"
    print(f"{backend:32}{told(cost)}  {verdict}: {budgets}")
    return kept


def difference(taken: dict[str, list[dict[str, float]]], name: str, plain: str) -> list[float]:
    """Microseconds per request more than the plain one of the same round."""
    return sorted(a["cpu"] - b["cpu"] for a, b in zip(taken[name], taken[plain], strict=True))


def told(costs: list[float]) -> str:
    """The median and the extremes."""
    return f"{statistics.median(costs):7.2f} us  {f'({costs[0]:.2f} to {costs[-1]:.2f})':20}"


# ---------------------------------------------------------------- in a process of its own


def serve(name: str, requests: int) -> dict[str, float]:
    """Serve so many requests; the CPU each took in all threads, until all of them were delivered."""
    with tempfile.TemporaryDirectory() as folder:
        block, stop, counts = contestant(name, folder)
        paced(block, 1_000)  # everything is imported and has been used
        time.sleep(0.5)
        before = time.process_time()
        paced(block, requests)
        stop()
        spent = time.process_time() - before
        return {"cpu": spent * 1e6 / requests, **counts()}


def paced(block: Block, requests: int) -> None:
    """So many requests in bursts, with time between them for other threads."""
    for _ in range(requests // BURST):
        block(BURST)
        time.sleep(PAUSE)


def contestant(name: str, folder: str) -> Contestant:
    """How this one serves, how it is stopped, and what it counted."""
    if name == "plain hooks":
        return subjects.gunicorn_hooks(None).alone, lambda: None, dict
    if name == "plain wsgi":
        return subjects.wsgi(subjects.wsgi_app), lambda: None, dict
    if name == "otel":
        return subjects.opentelemetry()[0], lambda: None, dict
    if name == "otlp":
        return delivering()
    return recording(name, folder)


def recording(name: str, folder: str) -> Contestant:
    """A worker of ours with this exporter."""
    port, end = collector()
    key = "InstrumentationKey=00000000-0000-0000-0000-000000000001"
    arguments = {
        "exporters": [name],
        "service": "benchmark",
        "sampling": {"keep_errors": False},
        "xray": {"daemon_address": f"127.0.0.1:{port}", "sampling": "ratio"},
        "azure": {"connection_string": f"{key};IngestionEndpoint=http://127.0.0.1:{port}/"},
    }
    os.environ["SERVER_TRACING_DIR"] = folder
    traced = worker.start(config.load(arguments=arguments), server="benchmark")
    assert traced is not None

    def stop() -> None:
        traced.stop()
        end()

    def counts() -> dict[str, float]:
        checkpoint = traced.journal.checkpoint()
        return {"seen": checkpoint.seen, "delivered": checkpoint.tally(name).delivered}

    return subjects.gunicorn_hooks(traced.recorder).alone, stop, counts


def delivering() -> Contestant:
    """OpenTelemetry with its own exporter."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    port, end = collector()
    block, _, flush = subjects.opentelemetry(OTLPSpanExporter(f"http://127.0.0.1:{port}/v1/traces"))

    def stop() -> None:
        flush()
        end()

    return block, stop, dict


def collector() -> tuple[int, Callable[[], None]]:
    """The port of one in a process of its own, and how to end it."""
    process = subprocess.Popen([sys.executable, COLLECTOR], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None

    def end() -> None:
        process.kill()
        process.wait()

    return int(process.stdout.readline()), end


if __name__ == "__main__":
    sys.exit(main())
