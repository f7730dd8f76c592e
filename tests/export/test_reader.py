"""The reader: from frames to exporters, releasing only what everybody has, with accounts that balance."""

from __future__ import annotations

import msgspec
import pytest
from export_kit import Backend, Clock, Worker, assert_balanced, settings

from server_tracing.config import Sampling
from server_tracing.export.exporter import ExportError
from server_tracing.export.memory import MemoryExporter
from server_tracing.export.pace import ITEMS, Pace
from server_tracing.export.reader import QUIET_EVERY, WAKE_EVERY
from server_tracing.record import Event, Kind, Outcome, WorkerVitals


def test_every_request_arrives_once_and_in_order():
    """Whatever the size of slices and batches."""
    worker = Worker()
    for number in range(700):
        worker.serve(f"/{number}")
    worker.wake()
    assert worker.paths == [f"/{number}" for number in range(700)]
    assert_balanced(worker.checkpoint)


def test_the_journal_is_released_when_everybody_has_it():
    """At rest nothing of it is in use."""
    worker = Worker()
    for number in range(50):
        worker.serve(f"/{number}")
    worker.wake()
    assert worker.journal.used == 0
    assert worker.checkpoint.exporters["memory"].delivered == 50


def test_an_open_request_is_in_flight_and_keeps_its_begin():
    """Until it ends, its begin is not released."""
    worker = Worker()
    slot = worker.begin("/slow")
    worker.serve("/fast")
    worker.wake()
    assert (worker.checkpoint.in_flight, worker.checkpoint.tail) == (1, 0)
    assert worker.paths == ["/fast"]
    worker.recorder.end(slot, Outcome.OK, 200)
    worker.wake()
    assert worker.paths == ["/fast", "/slow"]
    assert worker.journal.used == 0
    assert_balanced(worker.checkpoint)


def test_excluded_requests_are_counted_and_go_nowhere():
    """`seen` has them, exporters do not."""
    worker = Worker(config=settings(exclude=("/health",)))
    for path in ("/health", "/a", "/health"):
        worker.serve(path)
    worker.wake()
    assert worker.paths == ["/a"]
    assert (worker.checkpoint.seen, worker.checkpoint.excluded) == (3, 2)
    assert_balanced(worker.checkpoint)


def test_unsampled_requests_are_counted_where_only_sampled_ones_go():
    """What stays on the machine gets everything."""

    class Sampled(MemoryExporter):
        name = "sampled"
        sampled_only = True

    everything, sampled = MemoryExporter(), Sampled()
    config = settings(sampling=Sampling(rate=0.0, keep_errors=False, keep_slower_than=None))
    worker = Worker(everything, sampled, config=config)
    for number in range(20):
        worker.serve(f"/{number}")
    worker.wake()
    assert len(everything.requests) == 20
    assert not sampled.requests
    assert worker.checkpoint.exporters["sampled"].unsampled == 20
    assert_balanced(worker.checkpoint)


@pytest.mark.parametrize(
    ("told", "kept", "rule"),
    [
        (True, False, "default"),
        ((True, "default"), True, "default"),
        ((False, "gone"), False, "gone"),
        ("perhaps", False, "default"),
        ([None], False, "default"),
        ({"sampled": 7}, False, "default"),
    ],
)
def test_what_others_were_told_is_kept_to_if_it_can_be_read(tmp_path, told, kept, rule):
    """A note that makes no sense costs the record nothing but that."""
    rules = tmp_path / "rules.json"
    rules.write_text('{"version": 2, "default": {"fixed_target": 0, "rate": 0}}')
    worker = Worker(config=settings(sampling=Sampling(rules=str(rules), keep_errors=False)))
    slot = worker.recorder.begin_text("GET", "/a", "1.1", "http", "", 0, [])
    worker.journal.append(Kind.NOTE, msgspec.msgpack.encode((slot.number, "sampled", "", told, "")))
    worker.recorder.end(slot, Outcome.OK, 200)
    worker.wake()
    (record,) = worker.memory.requests
    assert (record.sampled, record.rule) == (kept, rule)
    assert_balanced(worker.checkpoint)


def test_requests_the_ring_had_no_room_for_are_counted():
    """They are seen, and dropped for every exporter."""
    worker = Worker(size=65536)
    for number in range(2000):
        worker.serve(f"/{number}")
    worker.wake()
    lost = worker.journal.lost
    assert lost > 0
    assert (worker.checkpoint.seen, worker.checkpoint.exporters["memory"].dropped) == (2000, {"full": lost})
    assert len(worker.paths) == 2000 - lost
    assert_balanced(worker.checkpoint)


def test_garbage_in_the_journal_costs_what_it_is():
    """A begin that cannot be read is a dropped request; everything else arrives."""
    worker = Worker()
    worker.serve("/before")
    worker.journal.append(Kind.BEGIN_TEXT, b"\xc1\xc1")
    worker.journal.append(99, b"?")
    worker.journal.append(Kind.END, b"\x91" * 5000)
    worker.serve("/after")
    worker.wake()
    assert worker.paths == ["/before", "/after"]
    assert worker.checkpoint.exporters["memory"].dropped == {"garbled": 1}
    assert worker.checkpoint.garbled == 3
    assert_balanced(worker.checkpoint)


@pytest.mark.parametrize("outcome", [99, -1])
def test_a_request_that_makes_no_sense_is_dropped_and_counted(outcome):
    """It decodes, but there is no such outcome."""
    worker = Worker()
    begin = msgspec.msgpack.encode((77, 5, "GET", "/", "1.1", "http", "", 0, []))
    worker.journal.append(Kind.BEGIN_TEXT, begin)
    worker.journal.append(Kind.END, msgspec.msgpack.encode((77, 9, outcome)))
    worker.wake()
    assert worker.checkpoint.exporters["memory"].dropped == {"garbled": 1}
    assert_balanced(worker.checkpoint)


def test_an_exporter_that_fails_gets_it_later():
    """Nothing is released before it has it, and nothing is twice."""
    backend = Backend(ExportError("down"), blocking=False, sampled_only=False)
    worker = Worker(backend)
    worker.serve("/a")
    worker.clock.advance(1)
    worker.reader.wake()
    assert (backend.taken, worker.checkpoint.exporters["backend"].queued) == ([], 1)
    assert worker.journal.used > 0
    assert_balanced(worker.checkpoint)
    worker.wake(10)
    assert backend.paths == ["/a"]
    assert worker.journal.used == 0
    assert_balanced(worker.checkpoint)


def test_when_the_journal_needs_its_room_a_failing_exporter_loses_not_the_others():
    """The others go on; what is let go of is counted by its reason."""
    failing = Backend(*[ExportError("full", reason="disk_full")] * 10_000, blocking=False, sampled_only=False)
    memory = MemoryExporter()
    worker = Worker(failing, memory, size=65536)
    for number in range(3000):
        worker.serve(f"/{number}")
        if number % 50 == 0:
            worker.reader.wake()
    worker.wake()
    assert worker.journal.lost == 0
    assert len(memory.requests) == 3000
    assert worker.checkpoint.exporters["backend"].dropped["disk_full"] > 2000
    assert_balanced(worker.checkpoint)


def test_one_long_request_does_not_fill_the_journal():
    """Its begin is carried forward; ten rings later it ends, whole."""
    worker = Worker(size=65536)
    socket = worker.begin("/socket")
    for number in range(5000):
        worker.serve(f"/{number}")
        if number % 50 == 0:
            worker.wake(0.5, steps=1)
    worker.recorder.end(socket, Outcome.OK, 101)
    worker.wake()
    assert worker.journal.lost == 0
    assert worker.paths[-1] == "/socket"
    assert len(worker.paths) == 5001
    assert worker.checkpoint.seen == 5001
    assert_balanced(worker.checkpoint)


def test_a_reader_that_is_behind_carries_nothing_that_may_have_ended():
    """What it has not read yet is not open for long."""
    worker = Worker(size=65536)
    for number in range(200):
        worker.serve(f"/{number}")
    worker.reader._read(worker.clock())
    slot = worker.begin("/just-begun")
    worker.source.read(worker.clock())
    for number in range(200):
        worker.serve(f"/later/{number}")
    assert worker.journal.head - worker.source.joiner.find(slot.number).pin > worker.journal.size // 4
    worker.reader._chores[-1](0.0)
    assert not worker.source.joiner.moving(worker.source.joiner.find(slot.number))


def test_more_open_requests_than_a_quarter_of_the_ring_can_hold_float():
    """They are kept in memory, and counted when they end all the same."""
    worker = Worker(size=65536)
    sockets = [worker.begin(f"/socket/{number}") for number in range(180)]
    for number in range(2000):
        worker.serve(f"/{number}")
        if number % 40 == 0:
            worker.wake(0.5, steps=1)
    assert worker.source.joiner.afloat
    for slot in sockets:
        worker.recorder.end(slot, Outcome.OK, 101)
    worker.wake()
    assert worker.journal.lost == 0
    assert len(worker.paths) == 2180
    assert worker.journal.used == 0
    assert_balanced(worker.checkpoint)


def test_a_response_that_has_begun_is_written_down_once():
    """So that its status is known should the worker be killed."""
    worker = Worker()
    slot = worker.begin("/stream")
    worker.wake(0.2)
    slot.first_byte, slot.status = slot.start + 1000, 206
    for _ in range(5):
        worker.wake(0.2)
    heads = [frame for frame in worker.journal.frames(0) if frame.kind == Kind.HEAD]
    assert len(heads) == 1
    assert worker.source.joiner.find(slot.number).status == 206


def test_marks_and_vitals_reach_exporters_but_not_the_accounts():
    """They are records, not requests."""
    worker = Worker()
    worker.recorder.mark("boot", "test")
    worker.journal.append(Kind.VITALS, msgspec.msgpack.encode((5, 1, 1.0, 1, 1, 0, 0)))
    worker.wake()
    event, vitals = worker.memory.records
    assert isinstance(event, Event)
    assert isinstance(vitals, WorkerVitals)
    assert (worker.checkpoint.seen, worker.checkpoint.exporters["memory"].delivered) == (0, 0)
    assert worker.checkpoint.vitals.rss == 1


def test_without_a_thread_the_journal_waits_for_the_end(caplog):
    """A limit of the system's at the wrong moment costs no record."""

    def none(function):
        raise RuntimeError("can't start new thread")

    worker = Worker()
    worker.reader.start(none)
    worker.serve("/a")
    assert worker.paths == []
    assert worker.reader.stop(1.0)
    assert worker.paths == ["/a"]
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "No thread can be started (can't start new thread)"
    ]


def test_the_heartbeat_is_a_sign_of_life():
    """Each wake leaves one."""
    worker = Worker()
    before = worker.journal.heartbeat
    worker.reader.wake()
    assert worker.journal.heartbeat > before


def test_a_fault_of_our_own_costs_one_wake(caplog):
    """The thread goes on, and says so."""
    calls = []

    def broken(now: float) -> None:
        calls.append(now)
        if len(calls) == 2:
            worker.reader.stop(0)
        raise RuntimeError("ours")

    worker = Worker()
    worker.reader._chores = (broken,)
    worker.reader.start(lambda run: None)
    worker.reader._draw = lambda low, high: 0.0
    worker.reader._run()
    assert len(calls) == 2
    assert worker.reader.faults == 2
    assert "a fault in the exporter's reader" in caplog.text


@pytest.mark.parametrize(
    ("serve", "pause"),
    [
        (lambda worker: None, QUIET_EVERY),
        (lambda worker: worker.begin("/open"), WAKE_EVERY),
        (lambda worker: worker.serve("/not-delivered-yet"), WAKE_EVERY),
    ],
)
def test_it_wakes_less_often_where_nothing_is_going_on(tmp_path, serve, pause):
    """Idle workers cost next to nothing; what is in flight or on its way is looked after as always."""
    worker = Worker(Backend(), folder=tmp_path)
    drawn: list[tuple[float, float]] = []

    def draw(*bounds: float) -> float:
        drawn.append(bounds)
        worker.reader.stop(0)
        return 0.0

    worker.reader._draw = draw
    serve(worker)
    worker.reader.start(lambda run: None)
    worker.reader._run()
    assert drawn == [pause]


def test_the_pace_rests_after_a_while_or_after_so_many_items():
    """At most half a millisecond, or 64 items, between two real sleeps."""
    rests: list[float] = []
    clock = Clock(0)
    pace = Pace(clock=clock.ns, sleep=rests.append)
    for _ in range(ITEMS):
        pace.breathe()
    assert len(rests) == 1
    for _ in range(8):
        clock.advance(0.0001)
        pace.breathe()
    assert len(rests) == 2
    assert min(rests) > 0


def test_reprs_say_how_things_are():
    """What an operator sees in a debugger."""
    worker = Worker()
    worker.begin("/open")
    worker.serve("/a")
    worker.wake()
    assert repr(worker.reader) == (
        "<Reader not started · 1 in flight · <Claims 0 in hand · 0 finished · 0 killed requests> · 0 faults>"
    )
    assert repr(worker.source).startswith("<Source 0123456789abcdef · read to ")
    assert "to memory · 0 queued · 1 delivered" in repr(worker.source.lanes[0])
    assert repr(worker.sinks[0]) == "<Inline memory · 0 batches waiting · healthy>"
