"""Senders: a backend that fails or hangs holds up nobody, and costs nothing that the spool can hold."""

from __future__ import annotations

import os
import threading

import pytest
from export_kit import Backend, Worker, assert_balanced
from msgspec import structs

from server_tracing.export.exporter import ExportError
from server_tracing.export.memory import MemoryExporter
from server_tracing.export.sending.delivery import attempt
from server_tracing.export.sending.overflow import MAX_HELD
from server_tracing.export.sending.sender import IDLE, PATIENCE, Late, Sender
from server_tracing.record import Request


def serve(worker: Worker, *paths: str) -> None:
    for path in paths:
        worker.serve(path)


def tally(worker: Worker):
    return worker.checkpoint.exporters["backend"]


def sender_of(worker: Worker) -> Sender:
    (sender,) = (sink for sink in worker.sinks if isinstance(sink, Sender))
    return sender


def test_records_are_delivered_in_order(tmp_path):
    """One batch after the other."""
    backend = Backend()
    worker = Worker(backend, folder=tmp_path)
    for number in range(5):
        serve(worker, f"/{number}")
        worker.wake()
    assert backend.paths == [f"/{number}" for number in range(5)]
    assert worker.journal.used == 0
    assert_balanced(worker.checkpoint)


def test_a_failed_batch_is_tried_again_after_a_pause(tmp_path):
    """And keeps its place in the queue."""
    backend = Backend(ExportError("down"))
    worker = Worker(backend, folder=tmp_path)
    serve(worker, "/a")
    worker.wake(0.1)
    assert (backend.calls, backend.paths, tally(worker).queued) == (1, [], 1)
    serve(worker, "/b")
    worker.wake(0.6)
    assert backend.paths == ["/a", "/b"]
    assert_balanced(worker.checkpoint)


def test_retry_after_is_obeyed(tmp_path):
    """Not a second earlier than the backend asked for."""
    backend = Backend(ExportError("slow down", retry_after=60))
    worker = Worker(backend, folder=tmp_path)
    serve(worker, "/a")
    worker.wake()
    worker.wake(55)
    assert backend.calls == 1
    worker.wake(10)
    assert backend.paths == ["/a"]


def test_what_is_refused_for_good_is_dropped_and_counted(tmp_path):
    """By the backend's reason."""
    backend = Backend(ExportError("no", permanent=True, reason="bad_request"))
    worker = Worker(backend, folder=tmp_path)
    serve(worker, "/a", "/b")
    worker.wake()
    assert tally(worker).dropped == {"bad_request": 2}
    assert worker.journal.used == 0
    assert_balanced(worker.checkpoint)


def test_after_a_partial_success_only_the_rest_is_tried_again(tmp_path):
    """What was taken is delivered, what was refused is dropped."""

    class Partial(Backend):
        def export(self, records):
            requests = [record for record in records if isinstance(record, Request)]
            if len(requests) == 4:
                raise ExportError("206", remaining=requests[2:3], refused=1, reason="invalid")
            super().export(records)

    backend = Partial()
    worker = Worker(backend, folder=tmp_path)
    serve(worker, "/taken", "/taken-too", "/later", "/refused")
    worker.wake()
    worker.wake()
    assert backend.paths == ["/later"]
    assert (tally(worker).delivered, tally(worker).dropped) == (3, {"invalid": 1})
    assert_balanced(worker.checkpoint)


def test_an_exporter_with_a_bug_loses_the_batch_not_the_queue(tmp_path):
    """After three attempts; what comes behind is delivered."""
    backend = Backend(*[ZeroDivisionError()] * 3)
    worker = Worker(backend, folder=tmp_path)
    serve(worker, "/poison")
    for _ in range(9):
        worker.wake(0.3, steps=1)
    serve(worker, "/fine")
    worker.wake(30)
    assert backend.paths == ["/fine"]
    assert tally(worker).dropped == {"failed": 1}
    assert_balanced(worker.checkpoint)


def test_what_waits_too_long_goes_to_disk_and_releases_the_journal(tmp_path):
    """Pending on disk, delivered when the backend is back, and counted once."""
    backend = Backend(ExportError("down", retry_after=100))
    worker = Worker(backend, folder=tmp_path)
    serve(worker, "/a", "/b")
    worker.wake(0.1)
    worker.wake(PATIENCE + 1)
    assert worker.journal.used == 0
    assert (tally(worker).spooled, tally(worker).delivered) == (2, 0)
    assert_balanced(worker.checkpoint)
    worker.wake(200)
    assert backend.paths == ["/a", "/b"]
    assert (tally(worker).spooled, tally(worker).delivered, tally(worker).closed) == (0, 2, 1)
    assert sender_of(worker).spool.waiting() == 0
    assert_balanced(worker.checkpoint)


def test_under_pressure_everything_goes_to_disk_at_once(tmp_path):
    """More than half of the ring must never wait for a backend."""
    backend = Backend(ExportError("down", retry_after=10_000))
    memory = MemoryExporter()
    worker = Worker(backend, memory, folder=tmp_path, size=65536)
    for number in range(2000):
        serve(worker, f"/{number}")
        if number % 50 == 0:
            worker.wake(0.001, steps=1)
    worker.wake(5)
    assert worker.journal.lost == 0
    assert len(memory.requests) == 2000
    assert tally(worker).spooled == 2000
    assert_balanced(worker.checkpoint)


def test_newer_records_go_first_and_the_spool_when_nothing_else_waits(tmp_path):
    """What is happening now is never behind an hour of backlog."""
    backend = Backend(ExportError("down", retry_after=10))
    worker = Worker(backend, folder=tmp_path)
    serve(worker, "/old")
    worker.wake(0.1)
    worker.wake(PATIENCE + 1)
    worker.clock.advance(20)
    serve(worker, "/new")
    worker.wake(0.1)
    assert backend.paths == ["/new", "/old"]


def without_spool(folder, *exporters, **given) -> Worker:
    """A worker whose backend is down and whose disk takes nothing."""
    (folder / "spool").write_text("in the way")
    return Worker(Backend(ExportError("down", retry_after=100)), *exporters, folder=folder, **given)


def test_what_cannot_be_spooled_waits_in_memory_until_it_can(tmp_path):
    """Nothing is lost over a full disk that is tidied up in time, and it is said what is wrong with it."""
    memory = MemoryExporter()
    worker = without_spool(tmp_path, memory)
    serve(worker, "/a")
    worker.wake(0.1)
    for _ in range(3):
        worker.wake(PATIENCE + 1, steps=1)
    spool = sender_of(worker).spool
    assert (tally(worker).queued, tally(worker).dropped, memory.requests[0].path) == (1, {}, "/a")
    assert (spool.name, "wait in memory" in spool.trouble) == ("backend's spool", True)
    (tmp_path / "spool").unlink()
    worker.wake(PATIENCE + 1, steps=1)
    assert (tally(worker).spooled, spool.waiting(), spool.trouble) == (1, 1, "")
    assert_balanced(worker.checkpoint)


def test_what_cannot_be_spooled_is_dropped_when_it_is_too_much(tmp_path):
    """The oldest first, and counted."""
    worker = without_spool(tmp_path, size=4 << 20)
    for _ in range(3):
        serve(worker, *(f"/{number}" for number in range(MAX_HELD // 2)))
        worker.wake(0.1)
        worker.wake(PATIENCE + 1, steps=1)
    assert tally(worker).dropped == {"spool_failed": MAX_HELD // 2}
    assert tally(worker).queued == MAX_HELD
    assert_balanced(worker.checkpoint)


def test_what_cannot_be_spooled_is_dropped_when_the_journal_needs_its_room(tmp_path):
    """The others lose nothing."""
    memory = MemoryExporter()
    worker = without_spool(tmp_path, memory, size=65536)
    for number in range(400):
        serve(worker, f"/{number}")
        worker.wake(0.05, steps=1)
    assert tally(worker).dropped.keys() == {"spool_failed"}
    assert len(memory.requests) == 400
    assert_balanced(worker.checkpoint)


def test_what_cannot_be_spooled_at_the_end_stays_in_the_journal(tmp_path):
    """For the next worker: nothing is dropped over a stop."""
    worker = without_spool(tmp_path)
    worker.journal.path = "kept"
    serve(worker, "/a")
    worker.wake(0.1)
    worker.reader.finish(0.0)
    assert (tally(worker).dropped, tally(worker).queued) == ({}, 1)
    assert_balanced(worker.checkpoint)


def test_of_a_journal_that_nobody_will_read_the_end_is_a_loss(tmp_path):
    """It is in memory alone: what cannot be delivered, nor what is in flight, is somebody else's."""
    worker = without_spool(tmp_path)
    serve(worker, "/a")
    worker.begin("/stuck")
    worker.wake(0.1)
    worker.reader.finish(0.0)
    (checkpoint,) = worker.folded.values()
    assert (checkpoint.in_flight, checkpoint.exporters["backend"].dropped) == (0, {"worker_died": 2})
    assert_balanced(checkpoint)


def test_a_batch_that_is_taken_while_it_cannot_be_spooled_is_delivered_once(tmp_path):
    """The backend hung, the disk was full, and then it had it after all."""
    backend = Backend()
    worker = without_spool(tmp_path)
    sender = sender_of(worker)
    sender.exporter = backend
    serve(worker, "/a")
    worker.reader.wake()
    worker.clock.advance(2)
    worker.reader.wake()
    write, hand = sender.spool.write, sender._pick_up()

    def write_meanwhile(*given):
        sender._put_down(Late(hand, hand.records, attempt(backend.export, hand.records)))
        return write(*given)

    sender.spool.write = write_meanwhile
    worker.clock.advance(PATIENCE + 1)
    worker.reader.wake()
    worker.wake()
    assert (backend.paths, tally(worker).delivered, tally(worker).queued) == (["/a"], 1, 0)
    assert_balanced(worker.checkpoint)


def test_a_damaged_spool_file_is_counted(tmp_path):
    """Of two requests one can be read."""
    backend = Backend(ExportError("down", retry_after=10))
    worker = Worker(backend, folder=tmp_path)
    serve(worker, "/a", "/b")
    worker.wake(0.1)
    worker.wake(PATIENCE + 1)
    (file,) = (tmp_path / "spool" / "backend").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    worker.wake(60)
    assert backend.paths == ["/a"]
    assert (tally(worker).delivered, tally(worker).dropped) == (1, {"damaged": 1})
    assert_balanced(worker.checkpoint)


def test_a_batch_in_a_hanging_hand_is_spooled_and_not_sent_twice_if_it_succeeds(tmp_path):
    """The journal does not wait; and what the backend took after all is not sent from the disk."""
    backend = Backend()
    backend.gate = threading.Event()
    worker = Worker(backend, folder=tmp_path)
    sender = sender_of(worker)
    serve(worker, "/a")
    worker.clock.advance(2)
    worker.reader.wake()
    hand = threading.Thread(target=sender.step)
    hand.start()
    assert backend.called.wait(10)
    worker.clock.advance(PATIENCE + 1)
    worker.reader.wake()
    assert (tally(worker).spooled, worker.journal.used) == (1, 0)
    backend.gate.set()
    hand.join()
    worker.wake(0.1)
    assert backend.paths == ["/a"]
    assert (tally(worker).spooled, tally(worker).delivered) == (0, 1)
    assert_balanced(worker.checkpoint)


@pytest.mark.parametrize("when", ["before it is written", "before it is published"])
def test_a_hand_that_succeeds_while_its_batch_goes_to_disk_is_not_sent_twice(tmp_path, monkeypatch, when):
    """At whatever point of its way there."""
    backend = Backend()
    backend.gate = threading.Event()
    worker = Worker(backend, folder=tmp_path)
    sender = sender_of(worker)
    write = sender.spool.write

    def overtaken(*batch):
        file = write(*batch) if when == "before it is published" else None
        backend.gate.set()
        hand.join()
        sender.step()
        return file or write(*batch)

    monkeypatch.setattr(sender.spool, "write", overtaken)
    serve(worker, "/a")
    worker.clock.advance(2)
    worker.reader.wake()
    hand = threading.Thread(target=sender.step)
    hand.start()
    assert backend.called.wait(10)
    worker.clock.advance(PATIENCE + 1)
    worker.reader.wake()
    assert tally(worker).spooled == 1
    worker.wake(IDLE + 1)
    worker.wake(IDLE + 1)
    assert backend.paths == ["/a"]
    assert (tally(worker).spooled, tally(worker).delivered) == (0, 1)
    assert_balanced(worker.checkpoint)


def test_what_is_no_request_is_no_reason_to_drop_any(tmp_path):
    """A spool that is full takes the last words about that, and keeps what it has."""
    worker = Worker(Backend(*[ExportError("down")] * 9), folder=tmp_path)
    sender = sender_of(worker)
    serve(worker, "/a")
    worker.wake(PATIENCE + 1)
    assert tally(worker).spooled == 1
    sender.spool._size = 1
    worker.recorder.mark("loss ended")
    worker.reader.wake()
    worker.reader.wake()
    sender.relieve(pressed=True)
    worker.reader.wake()
    assert (tally(worker).spooled, tally(worker).dropped) == (1, {})
    assert len(os.listdir(sender.spool.folder)) == 2


class Halfway(Backend):
    """Holds what it is given at first; when it lets go, it has taken some and refused some."""

    def __init__(self, rest):
        super().__init__()
        self.gate = threading.Event()
        self.rest = rest

    def export(self, records):
        super().export(records)
        if self.calls == 1:
            remaining, refused = self.rest(self.taken.pop())
            raise ExportError("206", remaining=remaining, refused=refused, reason="invalid")


def taken_back(tmp_path, backend: Halfway, *paths: str) -> Worker:
    """A worker whose first batch was spooled out of its hand, and answered after that."""
    worker = Worker(backend, folder=tmp_path)
    serve(worker, *paths)
    worker.clock.advance(2)
    worker.reader.wake()
    hand = threading.Thread(target=sender_of(worker).step)
    hand.start()
    assert backend.called.wait(10)
    worker.clock.advance(PATIENCE + 1)
    worker.reader.wake()
    assert tally(worker).spooled == len(paths)
    backend.gate.set()
    hand.join()
    return worker


@pytest.mark.parametrize("left", [1, 0])
def test_of_a_hanging_hand_that_succeeds_in_part_only_the_rest_is_sent_from_the_disk(tmp_path, left):
    """And what was refused is counted so."""
    backend = Halfway(lambda records: (records[2 : 2 + left], 4 - 2 - left))
    worker = taken_back(tmp_path, backend, "/taken", "/taken-too", "/later", "/refused")
    for _ in range(3):
        worker.wake(60)
    assert backend.paths == ["/later"][:left]
    assert (tally(worker).spooled, tally(worker).delivered) == (0, 2 + left)
    assert tally(worker).dropped == {"invalid": 2 - left}
    assert sender_of(worker).spool.waiting() == 0
    assert_balanced(worker.checkpoint)


def test_a_record_of_which_a_part_was_taken_is_not_sent_whole_from_the_disk(tmp_path):
    """Also when it is the only one."""
    backend = Halfway(lambda records: ([structs.replace(records[0], unsent=[1])], 0))
    worker = taken_back(tmp_path, backend, "/a")
    for _ in range(3):
        worker.wake(60)
    assert [record.unsent for batch in backend.taken for record in batch] == [[1]]
    assert (tally(worker).spooled, tally(worker).delivered) == (0, 1)
    assert_balanced(worker.checkpoint)


def test_what_is_left_of_a_spooled_record_is_remembered_between_attempts(tmp_path):
    """Else each would send all of it again."""

    class InParts(Backend):
        def export(self, records):
            super().export(records)
            if self.calls <= 3:
                rest = [structs.replace(records[0], unsent=[self.calls])]
                raise ExportError("206", remaining=rest)

    backend = InParts(ExportError("down"))
    worker = Worker(backend, folder=tmp_path)
    serve(worker, "/a")
    worker.wake(0.1)
    worker.clock.advance(PATIENCE + 1)
    for _ in range(5):
        worker.wake(60)
    assert [record.unsent for batch in backend.taken for record in batch] == [[], [2], [3]]
    assert_balanced(worker.checkpoint)


def test_what_a_hand_still_has_is_neither_dropped_nor_delivered_by_others(tmp_path):
    """Until it has said how it ended, however full the spool is: else what arrives would count as dropped."""
    backend = Backend(spool_size=1)
    backend.gate = threading.Event()
    worker = Worker(backend, folder=tmp_path)
    sender = sender_of(worker)
    serve(worker, "/a")
    worker.reader.wake()
    worker.reader.wake()
    hand = threading.Thread(target=sender.step)
    hand.start()
    assert backend.called.wait(10)
    for path in ("/b", "/c"):
        serve(worker, path)
        worker.reader.wake()
        worker.clock.advance(PATIENCE + 1)
        worker.reader.wake()
    worker.reader.wake()
    assert tally(worker).dropped == {"spool_full": 1}
    others = sender.spool.claim()
    assert [record.path for record in sender.spool.read(others).records] == ["/c"]
    assert sender.spool.claim() is None
    sender.spool.give_up(others)
    backend.gate.set()
    hand.join()
    for _ in range(3):
        worker.wake(60)
    assert backend.paths.count("/a") == 1
    assert tally(worker).delivered == len(backend.paths)
    assert_balanced(worker.checkpoint)


def test_a_hand_that_hangs_is_spooled_once_however_long_it_hangs(tmp_path):
    """What comes behind it follows to the disk; when it gives up, nothing is counted twice."""
    backend = Backend(ExportError("too late"))
    backend.gate = threading.Event()
    worker = Worker(backend, folder=tmp_path)
    sender = sender_of(worker)
    serve(worker, "/a")
    worker.reader.wake()
    worker.reader.wake()
    hand = threading.Thread(target=sender.step)
    hand.start()
    assert backend.called.wait(10)
    for path in ("/b", "/c"):
        serve(worker, path)
        worker.reader.wake()
        worker.clock.advance(PATIENCE + 1)
        worker.reader.wake()
    assert (tally(worker).spooled, worker.journal.used) == (3, 0)
    backend.gate.set()
    hand.join()
    assert_balanced(worker.checkpoint)
    for _ in range(3):
        worker.wake(60)
    assert sorted(backend.paths) == ["/a", "/b", "/c"]
    assert (tally(worker).spooled, tally(worker).delivered) == (0, 3)
    assert_balanced(worker.checkpoint)


def test_a_long_outage_makes_few_files(tmp_path):
    """Ten minutes of one request a second are not six hundred files."""
    worker = Worker(Backend(*[ExportError("down")] * 10_000), folder=tmp_path)
    for number in range(600):
        serve(worker, f"/{number}")
        worker.wake(1.0, steps=1)
    assert len(list((tmp_path / "spool" / "backend").iterdir())) < 60
    assert_balanced(worker.checkpoint)


def test_a_hanging_backend_delays_no_other(tmp_path):
    """Every other exporter goes on as if it were not there."""
    hanging, memory = Backend(), MemoryExporter()
    hanging.gate = threading.Event()
    worker = Worker(hanging, memory, folder=tmp_path)
    serve(worker, "/a")
    worker.clock.advance(2)
    worker.reader.wake()
    hand = threading.Thread(target=sender_of(worker).step)
    hand.start()
    assert hanging.called.wait(10)
    serve(worker, "/b")
    worker.clock.advance(2)
    worker.reader.wake()
    assert [request.path for request in memory.requests] == ["/a", "/b"]
    hanging.gate.set()
    hand.join()


def test_memory_is_bounded_whatever_the_backend_does(tmp_path):
    """At most so many records; the rest is on disk."""
    worker = Worker(Backend(ExportError("down", retry_after=1e6)), folder=tmp_path, size=8 << 20)
    for number in range(6000):
        serve(worker, f"/{number}")
        if number % 500 == 0:
            worker.wake(0.01, steps=1)
    worker.wake(0.01)
    assert sum(len(batch.records) for batch in sender_of(worker)._queue) <= 2000
    assert tally(worker).spooled >= 4000
    assert_balanced(worker.checkpoint)


def test_its_thread_is_born_with_the_first_batch(tmp_path):
    """An exporter nobody uses costs no thread."""
    started = []
    worker = Worker(Backend(), folder=tmp_path)
    sender_of(worker)._start_thread = started.append
    worker.wake()
    assert started == []
    serve(worker, "/a")
    worker.wake()
    assert len(started) == 1


def test_a_fault_of_our_own_does_not_end_its_thread(tmp_path, caplog):
    """It is said once, and the next batch is delivered."""
    backend = Backend()
    worker = Worker(backend, folder=tmp_path)
    sender = sender_of(worker)
    serve(worker, "/a")
    worker.reader.wake()
    worker.reader.wake()
    real, faults = sender.step, iter([RuntimeError("ours"), RuntimeError("ours")])

    def step() -> float:
        for fault in faults:
            raise fault
        return real()

    sender.step = step
    sender.halt()
    sender._bell.wait = lambda seconds: None
    for _ in range(3):
        sender._run()
    assert backend.paths == ["/a"]
    assert [record.getMessage() for record in caplog.records] == [
        "a fault in the sender for backend; it goes on"
    ]


def test_a_thread_that_cannot_be_had_is_tried_again(tmp_path):
    """A process at its limit of threads spools, and delivers when it can."""
    started: list[object] = []

    def refuse(run: object) -> None:
        started.append(run)
        if len(started) == 1:
            raise RuntimeError("can't start new thread")

    worker = Worker(Backend(), folder=tmp_path)
    sender_of(worker)._start_thread = refuse
    serve(worker, "/a")
    worker.reader._guarded(worker.reader.wake)
    worker.clock.advance(PATIENCE + 1)
    worker.reader._guarded(worker.reader.wake)
    serve(worker, "/b")
    worker.wake()
    assert len(started) == 2
    assert_balanced(worker.checkpoint)


class Tended(Backend):
    """Has something to do every ten seconds."""

    tended = 0

    def tend(self) -> float:
        self.tended += 1
        answer = self.script.pop(0) if self.script else None
        if answer is not None:
            raise answer
        return 10.0


def test_an_exporter_with_more_to_do_has_its_thread_from_the_start(tmp_path):
    """Rules are to be there before the first request is."""
    started = []
    worker = Worker(Tended(), folder=tmp_path)
    sender_of(worker)._start_thread = started.append
    worker.wake()
    assert len(started) == 1


def test_what_else_an_exporter_has_to_do_is_done_when_it_is_due(tmp_path):
    """After what is to be delivered, and no more once it is to end."""
    backend = Tended()
    worker = Worker(backend, folder=tmp_path)
    sender = sender_of(worker)
    for _ in range(3):
        sender._guarded_step()
    assert (backend.tended, sender._tend()) == (1, 10.0)
    serve(worker, "/a")
    worker.clock.advance(10)
    worker.reader.wake()
    worker.reader.wake()
    sender._guarded_step()
    assert (backend.tended, backend.paths) == (2, ["/a"])
    sender.halt()
    worker.clock.advance(10)
    sender._guarded_step()
    assert backend.tended == 2


def test_a_fault_in_what_else_there_is_to_do_holds_up_no_delivery(tmp_path):
    """It is tried again some seconds later."""
    backend = Tended(ZeroDivisionError())
    worker = Worker(backend, folder=tmp_path)
    sender = sender_of(worker)
    sender._guarded_step()
    serve(worker, "/a")
    worker.reader.wake()
    worker.reader.wake()
    sender._guarded_step()
    assert (backend.tended, backend.paths) == (1, ["/a"])
    worker.clock.advance(IDLE)
    sender._guarded_step()
    assert backend.tended == 2


class Parting(Backend):
    """Has something to say at the end."""

    said_after: list[str] | None = None

    def part(self) -> None:
        self.said_after = list(self.paths)


def test_an_exporter_says_its_last_when_its_thread_ends(tmp_path):
    """After what it had to deliver; not to a backend that is down: a worker has little time left."""
    well, down = Parting(), Parting(ExportError("refused"))
    for number, backend in enumerate((well, down)):
        worker = Worker(backend, folder=tmp_path / str(number))
        serve(worker, "/a")
        worker.reader.wake()
        sender = sender_of(worker)
        sender.halt()
        sender._run()
        assert sender.wait(0)
    assert (well.said_after, down.said_after) == (["/a"], None)


def test_what_can_be_done_is_said_with_what_is_wrong(tmp_path):
    """Whoever reads the log at night need not look it up."""
    worker = Worker(Backend(ExportError("no such region", remedy="correct the address")), folder=tmp_path)
    serve(worker, "/a")
    worker.wake(0.1)
    assert sender_of(worker).trouble == "no such region; correct the address"


def test_its_repr_says_how_the_backend_is(tmp_path):
    """Healthy, or failing and why."""
    worker = Worker(Backend(ExportError("refused")), folder=tmp_path)
    assert repr(sender_of(worker)) == "<Sender backend · 0 records held · healthy>"
    serve(worker, "/a")
    worker.wake(0.1)
    assert repr(sender_of(worker)) == "<Sender backend · 1 records held · failing: refused>"
