"""Conservation: workers are killed, a backend fails in every way, and every request is accounted for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from server_tracing import export
from server_tracing.config import load
from server_tracing.store import Store

ROOT = Path(__file__).resolve().parents[2]
WORKERS, AT_ONCE, REQUESTS = 9, 3, 2000

MOODY = """
import os, random, time
from server_tracing.export.exporter import ExportError
from server_tracing.record import Request

class Moody:
    name = "moody"
    max_age = 0.05

    def __init__(self, setup):
        self.random = random.Random(os.environ.get("SEED"))
        self.calm = "SEED" not in os.environ

    def export(self, records):
        mood = 1.0 if self.calm else self.random.random()
        half = len(records) // 2
        if mood < 0.20:
            raise ExportError("down")
        if mood < 0.25:
            raise ExportError("slow down", retry_after=0.2)
        if mood < 0.30:
            raise ExportError("nonsense", permanent=True, reason="refused")
        if mood < 0.35:
            raise RuntimeError("a bug")
        if mood < 0.45 and half:
            self.take(records[:half])
            raise ExportError("some of it", remaining=records[half:])
        if mood < 0.50:
            time.sleep(4)  # longer than anybody's patience
        self.take(records)

    def take(self, records):
        ids = [record.span_id for record in records if isinstance(record, Request)]
        file = os.open(os.environ["TAKEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, "".join(f"{one}\\n" for one in ids).encode())
        os.close(file)
"""

SERVE = """
import os, random, signal, sys, time
from server_tracing import config, worker
from server_tracing.record import Outcome

dice = random.Random(os.environ["SEED"])
running = worker.start(config.load(), server="test 1", worker_class="sync", app="shop:app")
recorder, left_open = running.recorder, []
for number in range(int(sys.argv[1])):
    slot = recorder.begin_text("GET", f"/{number}", "1.1", "http", "", 0, [("HOST", "shop")])
    if dice.random() < 0.005:
        left_open.append(slot)
    else:
        recorder.end(slot, Outcome.OK, 200)
    if number % 50 == 0:
        time.sleep(dice.random() * 0.05)
print(len(left_open), flush=True)
if dice.random() < 0.7:
    os.kill(os.getpid(), signal.SIGKILL)
for slot in left_open:
    recorder.end(slot, Outcome.OK, 200)
running.stop()
os._exit(0)
"""


def serve_and_die(folder: Path, environ: dict[str, str]) -> None:
    """Generations of workers, three at a time, most of which end badly."""
    for first in range(0, WORKERS, AT_ONCE):
        command = [sys.executable, "-c", SERVE, str(REQUESTS)]
        generation = [
            subprocess.Popen(
                command, env={**environ, "SEED": str(seed)}, stdout=subprocess.DEVNULL, cwd=folder
            )
            for seed in range(first, first + AT_ONCE)
        ]
        for process in generation:
            assert process.wait(60) in (0, -9)


def test_every_request_is_delivered_or_counted_whatever_happens(tmp_path, monkeypatch):
    """Per exporter, over all generations, exactly; and what was delivered is what arrived."""
    (tmp_path / "moody.py").write_text(MOODY)
    state = {
        "SERVER_TRACING_DIR": str(tmp_path / "state"),
        "SERVER_TRACING_JOURNAL_DIR": str(tmp_path / "state"),
        "SERVER_TRACING_JOURNAL_SIZE": "1MiB",  # none of them can fill it, however slow the machine
        "SERVER_TRACING_EXPORTERS": "local,moody:Moody",
        "TAKEN": str(tmp_path / "taken"),
    }
    serve_and_die(tmp_path, {**os.environ, **state, "PYTHONPATH": f"{ROOT}:{tmp_path}"})
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TAKEN", state["TAKEN"])
    summary = export.recover(load({**state, "HOME": str(tmp_path)}, cwd=tmp_path))
    assert (summary.left, summary.spooled) == (0, {"moody": 0})

    store = Store(str(tmp_path / "state" / "store.sqlite"))
    stored = Counter(request.span_id for request in store.query())
    totals = store.totals()
    store.close()
    assert len(stored) == WORKERS * REQUESTS
    assert max(stored.values()) == 1
    taken = set((tmp_path / "taken").read_text().split())
    assert taken <= set(stored)
    # More may be taken than is counted as delivered: a worker is killed when half of a batch is taken, and
    # its heir, who sends the batch again, is refused.
    assert len(taken) >= totals.exporters["moody"]["delivered"]
    assert len(stored) - len(taken) <= sum(totals.dropped.get("moody", {}).values())
    for exporter, counts in totals.exporters.items():
        dropped = sum(totals.dropped.get(exporter, {}).values())
        assert counts["seen"] == WORKERS * REQUESTS
        assert counts["delivered"] + dropped == counts["seen"], exporter
        assert counts["spooled"] == 0
