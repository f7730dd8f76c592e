"""The exporter side with its real threads: started in a worker, stopped by a deadline, recovered later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from export_kit import HEADERS, Backend, origin

from server_tracing import export
from server_tracing.capture.recorder import Recorder
from server_tracing.config import Loaded, destinations, load
from server_tracing.export.exporter import ExportError
from server_tracing.export.memory import MemoryExporter
from server_tracing.journal import Journal
from server_tracing.journal.journals import Journals
from server_tracing.record import Outcome
from server_tracing.store import Store

ROOT = Path(__file__).resolve().parents[2]
LONG = 30.0  # seconds after which something that should happen has not


@pytest.fixture
def loaded(tmp_path) -> Loaded:
    return load(environment(tmp_path), cwd=tmp_path)


def environment(folder: Path) -> dict[str, str]:
    """Everything in the test's own folder."""
    state = str(folder / "state")
    return {"SERVER_TRACING_DIR": state, "SERVER_TRACING_JOURNAL_DIR": state, "HOME": str(folder)}


class Running:
    """A worker's journal, recorder and pipeline, as worker.py puts them together."""

    def __init__(self, loaded: Loaded, *exporters: object, name: str = "00000000000000aa") -> None:
        where = destinations(loaded.config)
        self.journals = Journals(
            loaded.config.state_dir, service="shop", destinations=where, explicit=loaded.config.journal.dir
        )
        given = {"destinations": where, "state_dir": loaded.config.state_dir, "wall": time.time_ns()}
        self.journal: Journal = self.journals.create(
            origin(name, monotonic=time.monotonic_ns(), **given), 1 << 20
        )
        self.recorder = Recorder(self.journal)
        self.pipeline = export.start(
            loaded,
            self.journal,
            self.journals,
            export.Process(open_slots=lambda: list(self.recorder.open.values())),
            exporters=exporters or None,
        )

    def serve(self, path: str) -> None:
        slot = self.recorder.begin_text("GET", path, "1.1", "http", "192.0.2.7", 1, HEADERS)
        self.recorder.end(slot, Outcome.OK, 200)


class Event(MemoryExporter):
    """Says when it has so many requests."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.wanted = wanted
        self.full = threading.Event()

    def export(self, records):
        super().export(records)
        if len(self.requests) >= self.wanted:
            self.full.set()


def store(loaded: Loaded) -> Store:
    return Store(os.path.join(loaded.config.state_dir, "store.sqlite"))


def journals_left(loaded: Loaded) -> list[str]:
    return [str(path) for path in Path(loaded.config.state_dir).rglob("*.journal")]


def test_requests_reach_their_exporter_while_the_worker_runs(loaded):
    """Without anybody waking it."""
    exporter = Event(100)
    running = Running(loaded, exporter)
    for number in range(100):
        running.serve(f"/{number}")
    assert exporter.full.wait(LONG)
    assert running.pipeline.stop()


def test_a_worker_that_stops_in_order_leaves_nothing_behind(loaded):
    """Everything is in the store, its counts are in the totals, its journal is gone."""
    running = Running(loaded)
    for number in range(50):
        running.serve(f"/{number}")
    assert running.pipeline.stop()
    kept = store(loaded)
    assert len(list(kept.query())) == 50
    totals = kept.totals().exporters["local"]
    assert (totals["seen"], totals["delivered"]) == (50, 50)
    kept.close()
    assert journals_left(loaded) == []


def test_stopping_takes_no_longer_than_it_may_with_every_backend_hanging(loaded):
    """What they have not taken stands on disk, and is delivered by the next start."""
    gate = threading.Event()
    hanging = [Backend(name=name) for name in ("one", "two")]
    for backend in hanging:
        backend.gate = gate
    running = Running(loaded, *hanging)
    for number in range(20):
        running.serve(f"/{number}")
    running.pipeline.wake()
    before = time.monotonic()
    running.pipeline.stop(1.0)
    assert time.monotonic() - before < 2.0  # a deadline, not a measurement: a hang would be 30
    assert journals_left(loaded) == []
    gate.set()
    again = [Backend(name=name) for name in ("one", "two")]
    summary = export.recover(loaded, exporters=again)
    assert summary.spooled == {"one": 0, "two": 0}
    for before_stop, after in zip(hanging, again, strict=True):
        assert {*before_stop.paths, *after.paths} == {f"/{number}" for number in range(20)}


def test_a_request_in_flight_at_the_stop_keeps_the_journal_for_the_next(loaded):
    """It may be killed, or it may not: whoever claims the journal knows."""
    running = Running(loaded)
    running.serve("/done")
    running.recorder.begin_text("GET", "/open", "1.1", "http", "", 0, HEADERS)
    running.pipeline.stop()
    assert len(journals_left(loaded)) == 1
    summary = export.recover(loaded)
    assert (summary.journals, summary.killed, summary.left) == (1, 1, 0)
    kept = store(loaded)
    assert {request.path: request.outcome for request in kept.query()} == {"/done": "ok", "/open": "killed"}
    kept.close()
    assert journals_left(loaded) == []


def test_an_exporter_that_cannot_be_had_is_said_at_the_start(loaded, caplog):
    """With its name and what is wrong; the others work."""
    config = msgspec.structs.replace(loaded.config, exporters=("local", "no.such:Exporter"))
    running = Running(loaded._replace(config=config))
    running.serve("/a")
    assert running.pipeline.stop()
    assert "exporter 'no.such:Exporter' is not available: ModuleNotFoundError" in caplog.text
    kept = store(loaded)
    assert kept.totals().dropped == {"no.such:Exporter": {"unavailable": 1}}
    kept.close()


def test_a_child_that_was_forked_cannot_stop_its_parents_pipeline(loaded):
    """Threads do not survive a fork; the child says it is done and touches nothing."""
    exporter = Event(1)
    running = Running(loaded, exporter)
    child = os.fork()
    if child == 0:
        os._exit(0 if running.pipeline.stop(0.1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    running.serve("/parent")
    assert exporter.full.wait(LONG)
    assert running.pipeline.stop()


def test_recover_says_what_a_backend_that_is_down_still_has_to_get(loaded, monkeypatch):
    """Nothing is lost over it, and it does not wait for ever."""
    monkeypatch.setattr("server_tracing.export.recovery.WAIT", 0.0)
    running = Running(loaded, Backend(*[ExportError("down")] * 9999))
    running.serve("/a")
    running.pipeline.stop(0.5)
    summary = export.recover(loaded, exporters=[Backend(*[ExportError("refused")] * 9999)])
    assert summary.spooled == {"backend": 1}
    backend = Backend()
    monkeypatch.setattr("server_tracing.export.recovery.WAIT", LONG)
    assert export.recover(loaded, exporters=[backend]).spooled == {"backend": 0}
    assert backend.paths == ["/a"]


def test_recover_delivers_what_is_no_request_too(loaded):
    """An event that stands alone on disk, such as that a loss has ended, is waited for like any request."""
    running = Running(loaded, Backend(*[ExportError("down")] * 9999))
    running.recorder.mark("moved")
    running.pipeline.stop(0.5)
    backend = Backend(*[ExportError("not yet")] * 3)
    export.recover(loaded, exporters=[backend])
    assert "moved" in [getattr(record, "what", "") for taken in backend.taken for record in taken]


def test_recover_with_nothing_to_do_says_so(loaded):
    """At once."""
    summary = export.recover(loaded)
    assert (summary.journals, summary.killed, summary.left, summary.troubles) == (0, 0, 0, {})
    assert journals_left(loaded) == []


def test_recover_delivers_what_changed_settings_left_on_disk(loaded):
    """With today's settings; but nothing that a living worker still fills."""
    running = Running(loaded, Backend(*[ExportError("down")] * 9999))
    running.serve("/a")
    running.pipeline.stop(0.5)
    (folder,) = (Path(loaded.config.state_dir) / "spool").iterdir()
    folder.rename(folder.with_name("backend-former"))
    backend = Backend()
    export.recover(loaded, exporters=[backend])
    assert backend.paths == ["/a"]


KILLED = """
import os, signal, sys
from server_tracing import config, worker
from server_tracing.record import Outcome
running = worker.start(config.load(), server="test 1", worker_class="sync", app="shop:app")
recorder = running.recorder
for number in range(500):
    slot = recorder.begin_text("GET", f"/{number}", "1.1", "http", "", 0, [])
    recorder.end(slot, Outcome.OK, 200)
recorder.begin_text("POST", "/killer", "1.1", "http", "192.0.2.7", 0, [])
print("ready", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_saw_is_there_at_the_next_start(loaded, tmp_path):
    """kill -9: nothing answered is missing, nothing is twice, what was in flight is killed."""
    environ = {**os.environ, **environment(tmp_path), "PYTHONPATH": str(ROOT)}
    worker = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
        cwd=tmp_path,
    )
    with worker:
        assert worker.stdout.readline() == b"ready\n"
        worker.stdin.write(b"\n")
        worker.stdin.close()
    assert worker.returncode == -signal.SIGKILL
    summary = export.recover(loaded, reasons=lambda pid: ("signal 9", 1 << 62) if pid == worker.pid else None)
    assert (summary.journals, summary.killed) == (1, 1)
    kept = store(loaded)
    found = list(kept.query())
    assert sorted(request.path for request in found) == sorted([*(f"/{n}" for n in range(500)), "/killer"])
    (killed,) = [request for request in found if request.outcome == "killed"]
    assert (killed.method, killed.client_ip, killed.reason) == ("POST", "192.0.2.7", "signal 9")
    totals = kept.totals().exporters["local"]
    assert (totals["seen"], totals["delivered"]) == (501, 501)
    kept.close()


def test_its_repr_shows_reader_and_exporters(loaded):
    """All of it at one glance."""
    running = Running(loaded, MemoryExporter())
    running.pipeline.stop()
    assert repr(running.pipeline).startswith("<Pipeline <Reader stopping · 0 in flight")
    assert "<Inline memory · 0 batches waiting · healthy>" in repr(running.pipeline)
