"""Journals that were damaged on their disk: never a crash, never a wrong record, and the loss is counted."""

from __future__ import annotations

import mmap
import random
import shutil
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from dead_worker import ANSWERED, LOST, OPEN, SIZE, deliver, heir_of, image, write
from export_kit import Worker, origin
from hypothesis import HealthCheck, given
from hypothesis import settings as chosen
from hypothesis import strategies as st
from report import report, size

from server_tracing.capture.recorder import Recorder
from server_tracing.journal import GAP, initialise, locks, open_map, total_size
from server_tracing.journal.journals import Journals
from server_tracing.journal.ledger import Checkpoint, Tally
from server_tracing.journal.ring import MINIMAL_ROOM, RING
from server_tracing.record import Kind, Request, Vitals

SEEN = ANSWERED + OPEN + LOST
BEGUN = ANSWERED + OPEN
NAME = "0123456789abcdef"  # of the dead worker's journal
HEADER = 512  # bytes within which the first copy of it stands


@pytest.fixture(scope="module")
def whole() -> bytes:
    return image()


@pytest.fixture(scope="module")
def truth(whole) -> dict[str, bytes]:
    """What an undamaged journal gives, by span id."""
    requests, checkpoint, gaps = heir_of(whole)
    assert (len(requests), checkpoint.seen, gaps) == (BEGUN, SEEN, 0)
    assert checkpoint.exporters["memory"].dropped == {"full": LOST}
    return {request.span_id: msgspec.json.encode(request) for request in requests}


def written(content: bytes) -> list[int]:
    """Every place that the worker or its reader wrote to."""
    return [place for place, byte in enumerate(content) if byte]


def assert_true(requests: list[Request], truth: dict[str, bytes]) -> None:
    """Each record is one of the truth's, and none comes twice."""
    assert len({request.span_id for request in requests}) == len(requests)
    for request in requests:
        assert msgspec.json.encode(request) == truth[request.span_id], request


def deep_fault(depth: int) -> bytes:
    """The end of a request whose exception has so many causes."""
    fault = b"\x95\xa1E\xa1m\x90"  # type, message, no frames, then the cause and `explicit`
    return b"\x9b\x01\x02\x01\x00\x00\xff\xff\xa0\xff\xa0" + fault * depth + b"\xc0" + b"\xc2" * depth


def assert_true_and_counted(requests: list[Request], checkpoint: Checkpoint, truth: dict[str, bytes]) -> None:
    """And those that are missing are counted."""
    assert_true(requests, truth)
    tally = checkpoint.exporters["memory"]
    dropped = sum(tally.dropped.values())
    assert tally.delivered == len(requests)
    assert checkpoint.seen == SEEN, checkpoint
    assert tally.delivered + dropped == checkpoint.seen, checkpoint


def test_any_bit_flipped_costs_what_it_is_in_and_no_more(whole, truth):
    """Wherever it is: header, words, checkpoints, or any frame that had been read."""
    dice, lost, places = random.Random(4), 0, written(whole)
    flips = [(place, bit) for place in places for bit in size((dice.randrange(8),), tuple(range(8)))]
    for place, bit in flips[:: size(3, 1)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        requests, checkpoint, _ = heir_of(bytes(damaged))
        assert_true_and_counted(requests, checkpoint, truth)
        assert len(requests) >= BEGUN - OPEN - 1, (place, bit)  # those open may have ended in the gap
        lost += BEGUN - len(requests)
    assert lost
    report("a bit flipped in a dead worker's journal", requests=SEEN * len(flips), dropped=lost)


def test_a_file_cut_anywhere_gives_what_is_left_and_a_count(whole, truth, tmp_path):
    """A disk that was full, a copy that broke off: what is missing is empty, and nobody is called killed."""
    journals = Journals(str(tmp_path), service="shop", destinations="d", shm=str(tmp_path / "no"))
    folder = tmp_path / "journals"
    folder.mkdir(mode=0o700)
    lost, unreadable = 0, 0
    used = max(place for place, byte in enumerate(whole) if byte) + 8
    lengths = [*range(0, RING, size(1499, 7)), *range(RING, used, size(61, 1)), used, len(whole) - 1]
    for length in lengths:
        write(whole[:length], folder / (NAME + ".journal"))
        (folder / (NAME + ".lock")).touch()
        for journal in journals.orphans():
            requests, checkpoint, _ = deliver(journal)
            journals.remove(journal)
            assert_true(requests, truth)
            assert all(request.outcome != "killed" for request in requests) or length >= used
            if length >= RING:
                assert_true_and_counted(requests, checkpoint, truth)
            lost += BEGUN - len(requests)
        for set_aside in folder.glob("*.unreadable"):
            set_aside.unlink()
            unreadable += 1
            assert length < HEADER
    assert (lost > 0, unreadable > 0) == (True, True)
    assert "is lost and set aside" in journals.take_notes()[0]
    report("a dead worker's journal cut short", requests=SEEN * len(lengths), dropped=lost)


def test_frames_that_nobody_had_read_are_damaged_within_bounds(truth):
    """The last tenth of a second has no checksums yet: any byte may be wrong, and still nothing breaks."""
    unread, dice = bytearray(image(read=False)), random.Random(5)
    for _ in range(size(300, 5000)):
        damaged = bytearray(unread)
        for place in dice.sample(range(RING, RING + 2500), dice.randrange(1, 40)):
            damaged[place] = dice.randrange(256)
        requests, checkpoint, _ = heir_of(bytes(damaged))
        tally = checkpoint.exporters["memory"]
        assert tally.delivered == len(requests) <= BEGUN
        assert tally.accounted + checkpoint.excluded == checkpoint.seen
        assert checkpoint.seen <= SEEN + SIZE // MINIMAL_ROOM


DEEP = b"\x91" * 3000  # arrays in arrays
LONG = [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"]
BELIEVABLE = st.builds(
    lambda values: msgspec.msgpack.encode(values),
    st.lists(
        st.recursive(
            st.one_of(
                st.integers(-(2**63), 2**64 - 1),
                st.text(max_size=20),
                st.binary(max_size=20),
                st.none(),
                st.booleans(),
                st.floats(),
            ),
            lambda inner: (
                st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
            max_leaves=12,
        ),
        max_size=16,
    ),
)
HOSTILE = st.one_of(
    st.binary(max_size=200),
    BELIEVABLE,
    st.sampled_from([DEEP, *LONG]),
    st.builds(
        lambda start, end: b"\x99\x01" + start + end, st.sampled_from([DEEP, *LONG]), st.binary(max_size=20)
    ),
    st.builds(deep_fault, st.integers(1, 4000)),
)


@chosen(max_examples=size(30, 1000), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_bytes_of_any_frame_crash_hang_or_balloon_the_reader(data):
    """Whoever wrote the file knows the checks: frames of every kind, any content, however deep or long."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, origin(), SIZE)
    for _ in range(data.draw(st.integers(1, 12))):
        kind = data.draw(st.sampled_from([*map(int, Kind), 77, 255]))
        payload = data.draw(HOSTILE)
        if kind != Kind.PAD and len(payload) < 20_000:
            journal.ring.write(kind, payload, 0)
    read = [0, 0]
    tracemalloc.start()
    try:
        requests, checkpoint, _ = deliver(open_map(memory, "journal", read_only=False))
        read = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read[1] < 8 << 20
    for name, tally in checkpoint.exporters.items():
        assert tally.accounted + checkpoint.excluded + checkpoint.in_flight == checkpoint.seen, name
    assert len(requests) <= 12


@pytest.mark.parametrize("damaged", range(40))
def test_behind_a_damaged_frame_the_next_one_is_found_also_in_the_next_lap(damaged):
    """Wherever the ring comes round."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, origin(), SIZE)
    for _ in range(SIZE // 1000 - 15):
        journal.append(Kind.NOTE, b"x" * 992)
    start = journal.head
    journal.settle(Checkpoint(tail=start, read=start))
    for number in range(40):
        journal.append(Kind.NOTE, b"%d " % number * 250)
    frames, _ = journal.read(start, 99)
    assert (len(frames), journal.head > SIZE) == (40, True)
    memory[RING + frames[damaged][0] % SIZE + 1] ^= 0x40  # its length
    found = open_map(memory, "journal", read_only=False).read(start, 99)[0]
    told = [int(payload.split()[0]) if kind == Kind.NOTE else GAP for _, kind, payload in found]
    whole = [*range(damaged), GAP, *range(damaged + 1, 40)]
    assert told == (whole if damaged < 39 else whole[:39]), "behind the last there is nothing to be found"


BEYOND = 2**64 - 1
POISON = [
    Checkpoint(tail=0, exporters={"memory": Tally(delivered=BEYOND)}),
    Checkpoint(tail=0, seen=BEYOND, exporters={"memory": Tally()}),
    Checkpoint(tail=BEYOND - 7, read=BEYOND),
    Checkpoint(tail=0, exporters={"memory": Tally(acked=BEYOND, closed=BEYOND, spooled=-(2**63))}),
    Checkpoint(tail=0, whole=BEYOND, vitals=Vitals(BEYOND, 0, 0.0, 0, 0, 0, 0)),
    Checkpoint(tail=8, exporters={f"exporter {number}": Tally() for number in range(40)}),
]


@pytest.mark.parametrize("checkpoint", POISON, ids=range(len(POISON)))
def test_no_checkpoint_keeps_the_living_from_their_work(checkpoint, tmp_path, caplog):
    """What cannot be counted on from is set aside, said once, and everybody else's records arrive."""
    journals = Journals(str(tmp_path), service="shop", destinations="d", shm=str(tmp_path))
    dead = journals.create(origin("d" * 16), SIZE)
    recorder = Recorder(dead)
    recorder.end(recorder.begin_text("GET", "/dead", "1.1", "http", "", 0, []), 0, 200)
    dead.settle(checkpoint)
    journals.release(dead)
    heir = Worker(journal=journals.create(origin("e" * 16), SIZE), journals=journals, folder=tmp_path)
    heir.serve("/living")
    for _ in range(6):
        heir.wake(3.0)
    heir.serve("/later")
    heir.wake(3.0)
    assert {"/living", "/later"} <= set(heir.paths) <= {"/living", "/later", "/dead"}
    assert heir.reader.faults == 0
    assert heir.claims.adopted == []
    assert len(caplog.records) <= 1
    journals.remove(heir.journal)


def test_a_copy_of_a_journal_is_nobodys(tmp_path):
    """Its worker may live: to count it would be to close that worker's account."""
    journals = Journals(str(tmp_path), service="shop", destinations="d", shm=str(tmp_path))
    journal = journals.create(origin("a" * 16), SIZE)
    folder = Path(journal.path).parent
    for suffix in (".journal", ".lock"):
        shutil.copy(folder / ("a" * 16 + suffix), folder / ("b" * 16 + suffix))
    other = Journals(str(tmp_path), service="shop", destinations="d", shm=str(tmp_path))
    assert list(other.orphans()) == []
    assert "is a copy" in other.take_notes()[0]
    assert locks.is_held(str(folder / ("a" * 16 + ".lock")))
    journals.remove(journal)
