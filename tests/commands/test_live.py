"""What is true this moment, from the journals of living workers."""

from __future__ import annotations

import time

import pytest
from believable import NOON, vitals

from server_tracing.capture.recorder import Recorder
from server_tracing.commands.live import running, workers
from server_tracing.config import destinations, load
from server_tracing.identity import anchor, boot_id, derive
from server_tracing.journal.journals import Journals
from server_tracing.journal.ledger import Checkpoint, Tally
from server_tracing.record import Origin, Outcome
from server_tracing.store import FILE, Store


@pytest.fixture
def config(tmp_path):
    given = {"state_dir": str(tmp_path / "state"), "journal.dir": str(tmp_path / "journals")}
    return load({}, tmp_path, given).config


def a_worker(config, name="w1", clock=time.monotonic_ns, **changes):
    """A living worker's recorder, and what lets go of it."""
    wall, monotonic = anchor()
    values = {
        "id": name,
        "seed": name.encode().ljust(16),
        "pid": 4711,
        "service": "shop",
        "destinations": destinations(config),
        "state_dir": config.state_dir,
        "wall": wall,
        "monotonic": monotonic,
        "boot": boot_id(),
    }
    journals = Journals(config.state_dir, explicit=config.journal.dir)
    journal = journals.create(Origin(**{**values, **changes}), 1 << 16)
    return Recorder(journal, clock=clock), journals


def begin(recorder, target="/report?token=abc"):
    return recorder.begin_text("GET", target, "1.1", "http", "203.0.113.7", 4, [("HOST", "shop.example")])


def test_only_what_has_not_ended_is_running(config):
    """With the ids it will end with, redacted as it will be, and how long it has been going on."""
    recorder, journals = a_worker(config)
    recorder.end(begin(recorder, "/done"), Outcome.OK, 200)
    slot = begin(recorder)
    (request,) = running(config)
    assert (request.outcome, request.path, request.status) == ("running", "/report", None)
    assert "abc" not in (request.query or "")
    trace_id, span_id = derive(recorder.journal.origin, slot.number, slot.start)
    assert (request.trace_id, request.span_id) == (f"{trace_id:032x}", f"{span_id:016x}")
    assert 0 <= request.duration_ms <= (time.monotonic_ns() - slot.start) / 1e6
    journals.remove(recorder.journal)


def test_looking_leaves_a_journal_as_it_was(config):
    """Its worker goes on; nobody adopts it."""
    recorder, journals = a_worker(config)
    begin(recorder)
    before = list(recorder.journal.frames())
    assert len(running(config)) == len(running(config)) == 1
    assert list(recorder.journal.frames()) == before
    journals.remove(recorder.journal)


def test_all_workers_are_asked_and_the_newest_comes_first(config):
    """Each has its own journal."""
    made = [a_worker(config, name) for name in ("w1", "w2")]
    for (recorder, _), target in zip(made, ("/first", "/second"), strict=True):
        begin(recorder, target)
    assert [request.path for request in running(config)] == ["/second", "/first"]
    for recorder, journals in made:
        journals.remove(recorder.journal)


def test_what_a_dead_worker_left_open_is_not_running(config):
    """It was killed; whoever adopts the journal will say so."""
    recorder, journals = a_worker(config)
    begin(recorder)
    journals.release(recorder.journal)
    assert running(config) == []
    (worker,) = workers(config, None)
    assert not worker.alive


def test_a_worker_from_before_a_reboot_is_timed_by_the_wall_clock(config):
    """Its monotonic stamps mean nothing now."""
    recorder, journals = a_worker(
        config, clock=lambda: 10**15, boot="another", wall=time.time_ns() - 5_000_000_000, monotonic=10**15
    )
    begin(recorder)
    (request,) = running(config)
    assert 5000 <= request.duration_ms < 600_000
    journals.remove(recorder.journal)


def test_workers_are_those_with_a_journal(config):
    """With their counts, their vitals, and whether today's settings are theirs."""
    recorder, journals = a_worker(config)
    recorder.journal.settle(Checkpoint(seen=3, exporters={"local": Tally(delivered=3)}))
    foreign, theirs = a_worker(config, "w2", destinations="elsewhere")
    store = Store(f"{config.state_dir}/{FILE}", clock=NOON.timestamp)
    store.append([vitals(served=5), vitals(15, served=7)], "w1", 1)
    mine, other = sorted(workers(config, store), key=lambda worker: worker.origin.id)
    assert (mine.alive, mine.ours, mine.checkpoint.seen, mine.vitals.served) == (True, True, 3, 7)
    assert (other.ours, other.vitals) == (False, None)
    store.close()
    journals.remove(recorder.journal)
    theirs.remove(foreign.journal)
