"""The journal: what was written is there, what was not written never is, and full is a counted choice."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_tracing.journal import Journal, JournalError, initialise, open_map, total_size
from server_tracing.journal.ledger import Checkpoint
from server_tracing.journal.ring import LOST, MAX_FRAME, MINIMAL_END, MINIMAL_ROOM, RING
from server_tracing.record import Kind, Origin

SIZE = 65536
ORIGIN = Origin(
    id="a" * 16, seed=b"s" * 16, pid=4711, service="shop", destinations="d", state_dir="/s", monotonic=7
)


def journal_in_memory(size: int = SIZE) -> Journal:
    return initialise(mmap.mmap(-1, total_size(size)), ORIGIN, size)


def begin(journal: Journal, payload: bytes = b"begin") -> bool:
    if journal.ring.write(Kind.BEGIN_TEXT, payload, MINIMAL_ROOM):
        return True
    journal.ring.lose()
    return False


def end(journal: Journal, payload: bytes = b"end", number: int = 1) -> None:
    if not journal.ring.write(Kind.END, payload, -MINIMAL_ROOM):
        journal.ring.end_minimal(number, 99, 200, 0)


def settle_up_to(journal: Journal, position: int) -> None:
    journal.settle(Checkpoint(tail=position, read=position))


def contents(journal: Journal) -> list[tuple[int, bytes]]:
    return [(frame.kind, frame.payload) for frame in journal.frames()]


def test_frames_come_back_in_the_order_they_were_written() -> None:
    """Reading gives every frame, whole and in order."""
    journal = journal_in_memory()
    begin(journal, b"a" * 13)
    journal.append(Kind.NOTE, b"")
    end(journal, b"c" * 200)
    assert contents(journal) == [(1, b"a" * 13), (8, b""), (5, b"c" * 200)]


def test_another_process_reads_what_the_writer_wrote() -> None:
    """A second view of the same memory, without the writer's state, finds the same frames."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, ORIGIN, SIZE)
    begin(journal, b"one")
    other = open_map(memory, "p", read_only=False)
    assert other.origin == ORIGIN
    assert contents(other) == [(1, b"one")]


def test_an_uncommitted_frame_does_not_exist() -> None:
    """Whatever the writer had not finished when it died is not read."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, ORIGIN, SIZE)
    begin(journal, b"whole")
    head = journal.head
    begin(journal, b"torn")
    struct.pack_into("<I", memory, RING + head + 4, 0)  # the check is what is written last
    assert contents(open_map(memory, "p", read_only=False)) == [(1, b"whole")]


def test_the_previous_lap_is_never_read_again() -> None:
    """After the ring came round, old frames behind the head are not taken for new ones."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, ORIGIN, SIZE)
    for _ in range(5 * SIZE // 1000):
        begin(journal, b"x" * 984)
        end(journal, b"y")
        settle_up_to(journal, journal.head)
    begin(journal, b"only this")
    assert contents(open_map(memory, "p", read_only=False)) == [(1, b"only this")]


def test_full_lets_go_of_the_newest_and_counts_it() -> None:
    """A begin that finds no room is refused and counted; what was there stays."""
    journal = journal_in_memory()
    begun = 0
    while begin(journal, b"x" * 500):
        begun += 1
    assert journal.lost == 1
    assert [kind for kind, _ in contents(journal)] == [Kind.BEGIN_TEXT] * begun


def test_every_begun_request_can_end_however_full_the_ring_is() -> None:
    """The room for a minimal end is promised when a request begins."""
    journal = journal_in_memory()
    begun = 0
    while begin(journal, b"x" * 300):
        begun += 1
    while journal.append(Kind.NOTE, b"n"):
        pass
    for number in range(begun):
        end(journal, b"e" * 1000, number)
    minimal = [MINIMAL_END.unpack(payload) for kind, payload in contents(journal) if kind == Kind.END_MINIMAL]
    ends = [kind for kind, _ in contents(journal) if kind in (Kind.END, Kind.END_MINIMAL)]
    assert len(ends) == begun
    assert minimal[-1] == (begun - 1, 99, 200, 0)


def test_room_comes_back_when_frames_are_settled() -> None:
    """A full ring takes requests again once the reader has released some."""
    journal = journal_in_memory()
    while begin(journal, b"x" * 500):
        end(journal)
    settle_up_to(journal, journal.head)
    assert begin(journal, b"x" * 500)


def test_a_frame_larger_than_allowed_is_refused() -> None:
    """No single frame may take the ring over."""
    journal = journal_in_memory(4 * MAX_FRAME)
    assert not journal.append(Kind.STACK, b"x" * MAX_FRAME)
    assert journal.refused == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=300))
def test_the_ring_agrees_with_a_list(steps: list[tuple[int, bool]]) -> None:
    """Whatever is written and released: what is read is what was accepted and not released."""
    journal = journal_in_memory()
    model: list[tuple[int, bytes]] = []
    for index, (length, release) in enumerate(steps):
        payload = bytes([index % 251]) * length
        if journal.append(Kind.NOTE, payload):
            model.append((Kind.NOTE, payload))
        if release and model:
            frames, position = journal.read(journal.tail, 1)
            assert len(frames) == 1
            settle_up_to(journal, position)
            model.pop(0)
    assert contents(journal) == model


@pytest.fixture
def restless() -> Iterator[None]:
    """The interpreter switches threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("traced", [False, True], ids=["as usual", "under a debugger"])
@pytest.mark.parametrize("locked", [False, True], ids=["with a GIL", "without"])
def test_threads_do_not_overwrite_each_other(
    traced: bool, locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads writing at once lose nothing, also while something traces every line."""
    if locked:
        monkeypatch.setattr("server_tracing.journal.ring._one_thread_at_a_time", lambda: False)
    journal = journal_in_memory(1 << 21)
    tracer = lambda *_: tracer  # noqa: E731 - it returns itself

    def write(thread: int) -> None:
        sys.settrace(tracer if traced else None)
        for index in range(500):
            begin(journal, b"%d-%d" % (thread, index))
            end(journal, b"%d+%d" % (thread, index))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {b"%d%s%d" % (t, sign, i) for t in range(8) for i in range(500) for sign in (b"-", b"+")}
    assert {payload for _, payload in contents(journal)} == expected


def test_a_signal_handler_may_write_in_the_middle_of_a_write() -> None:
    """A handler that interrupts a writer and writes itself neither hangs nor harms a frame."""
    journal = journal_in_memory(1 << 21)
    written: list[bytes] = []

    def handler(*_: object) -> None:
        payload = b"handler %d" % len(written)
        if journal.append(Kind.NOTE, payload):
            written.append(payload)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        for index in range(10_000):
            journal.append(Kind.MARK, b"main %d" % index)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    frames = contents(journal)
    assert [p for k, p in frames if k == Kind.NOTE] == written
    assert [p for k, p in frames if k == Kind.MARK] == [b"main %d" % i for i in range(10_000)]
    assert written, "the handler must have run, or this shows nothing"


def test_a_checkpoint_survives_and_a_torn_one_does_not_count() -> None:
    """The newest whole checkpoint is found again; half of one leaves the one before it."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, ORIGIN, SIZE)
    begin(journal, b"x")
    journal.settle(Checkpoint(tail=0, read=0, seen=1))
    journal.settle(Checkpoint(tail=journal.head, read=journal.head, seen=2))
    assert open_map(memory, "p", read_only=False).checkpoint().seen == 2
    at = next(at for at in (8192, 12288) if struct.unpack_from("<Q", memory, at)[0] == 2)
    memory[at + 17] ^= 0xFF
    again = open_map(memory, "p", read_only=False)
    assert (again.checkpoint().seen, again.tail) == (1, 0)


def test_marks_of_the_end_survive() -> None:
    """Why a worker said it would die, its last sign of life and a clean end are words in the map."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, ORIGIN, SIZE)
    journal.abort("timeout")
    journal.beat(12345)
    other = open_map(memory, "p", read_only=False)
    assert (other.aborted, other.heartbeat, other.closed_cleanly) == ("timeout", 12345, False)
    journal.close_cleanly()
    assert other.closed_cleanly


def test_a_forked_child_leaves_the_journal_alone() -> None:
    """After disowning, nothing reaches the map, not even a count."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, ORIGIN, SIZE)
    ring = journal.ring
    before = memory[:]
    journal.disown()
    assert not ring.write(Kind.BEGIN_TEXT, b"x", MINIMAL_ROOM)
    ring.lose()
    journal.abort("exit")
    assert memory[:] == before


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, RING + 4096), st.binary(min_size=1, max_size=40)), min_size=1, max_size=8
    )
)
def test_garbage_in_the_file_is_refused_or_read_within_bounds(edits: list[tuple[int, bytes]]) -> None:
    """No byte of a journal can crash its reader or make it read outside the ring."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, ORIGIN, SIZE)
    for _ in range(20):
        begin(journal, os.urandom(50))
    for at, garbage in edits:
        memory[at : at + len(garbage)] = garbage
    try:
        other = open_map(memory, "p", read_only=False)
    except JournalError:
        return
    assert all(len(frame.payload) < SIZE for frame in other.frames())


def test_its_repr_tells_what_an_operator_asks() -> None:
    """Pid, state, fill and loss at a glance."""
    journal = journal_in_memory()
    begin(journal)
    assert repr(journal) == f"<Journal {'a' * 16} pid 4711 · live · 16 of 65536 bytes used · 0 lost>"


def test_it_can_still_be_asked_when_it_is_closed() -> None:
    """A recorder that outlives its journal must not fail over a repr."""
    journal = journal_in_memory()
    while begin(journal, b"x" * 500):
        pass
    journal.close()
    assert (journal.lost, "closed" in repr(journal)) == (1, True)


def test_what_cannot_be_a_count_is_none() -> None:
    """Garbage in both words that count what was let go makes no losses up."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, ORIGIN, SIZE)
    memory[LOST : LOST + 16] = bytes(range(100, 116))
    assert journal.lost == 0
