"""Claims: what a dead worker left is delivered, counted and removed, each once, whoever dies over it."""

from __future__ import annotations

import contextlib
import itertools
import random

import pytest
from export_kit import Backend, Clock, Worker, assert_balanced, origin, settings
from hypothesis import HealthCheck, given
from hypothesis import settings as chosen
from hypothesis import strategies as st

from server_tracing.export.exporter import ExportError
from server_tracing.export.memory import MemoryExporter
from server_tracing.export.sending.sender import PATIENCE
from server_tracing.journal.journals import Journals
from server_tracing.record import Kind, Outcome, Request

NAMES = (f"{number:016x}" for number in itertools.count(1))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def start(tmp_path, clock):
    """Starts a worker whose journal stands in this test's folder."""

    def start(*exporters, **given) -> Worker:
        journals = Journals(str(tmp_path), service="shop", destinations="d", shm=str(tmp_path / "shm"))
        (tmp_path / "shm").mkdir(exist_ok=True)
        journal = journals.create(origin(next(NAMES), state_dir=str(tmp_path)), given.pop("size", 1 << 20))
        return Worker(*exporters, journal=journal, journals=journals, folder=tmp_path, clock=clock, **given)

    return start


def die(worker: Worker) -> None:
    """As a kill does it: the lock is free, and whatever stands in the map stands there."""
    worker.journals.release(worker.journal)


def claim(heir: Worker) -> None:
    """Long enough for every look and every batch."""
    for _ in range(4):
        heir.wake(2.0)


def test_what_was_answered_and_not_yet_delivered_is_delivered(start):
    """With the ids it would have had."""
    dead = start()
    dead.serve("/a")
    dead.serve("/b")
    die(dead)
    heir = start()
    claim(heir)
    assert heir.paths == ["/a", "/b"]
    assert [request.outcome for request in heir.memory.requests] == ["ok", "ok"]
    (checkpoint,) = heir.folded.values()
    assert (checkpoint.seen, checkpoint.exporters["memory"].delivered) == (2, 2)
    assert_balanced(checkpoint)
    assert list(heir.journals.look())[1:] == []


def test_what_was_in_flight_is_killed(start, clock):
    """With method, path, client, status if the head was written, and how long it had run."""
    dead = start()
    slot = dead.begin("/stuck?a=1")
    dead.begin("/also")
    slot.first_byte, slot.status = slot.start + 1_000_000, 200
    dead.wake(1.0)
    dead.journal.append(Kind.VITALS, b"\x97" + b"\x01" * 7)
    dead.journal.beat(slot.start + 5_000_000_000)
    die(dead)
    heir = start()
    claim(heir)
    first, second = heir.memory.requests
    assert (first.path, first.outcome, first.status, first.reason) == ("/stuck", "killed", 200, "unknown")
    assert (first.duration_ms, first.method, first.client_ip) == (5000.0, "GET", "192.0.2.7")
    assert first.vitals.rss_bytes == 1
    assert (second.path, second.status) == ("/also", None)
    assert heir.claims.killed == 2


def test_vitals_outlive_the_lap_of_the_ring(start):
    """Also when their frame is long overwritten."""
    dead = start(size=65536)
    dead.journal.append(Kind.VITALS, b"\x97" + b"\x01" * 7)
    for number in range(1000):
        dead.serve(f"/{number}")
        if number % 50 == 0:
            dead.wake()
    dead.begin("/stuck")
    dead.wake()
    die(dead)
    heir = start()
    claim(heir)
    assert heir.memory.requests[-1].vitals.rss_bytes == 1


@pytest.mark.parametrize(
    ("aborted", "clean", "told", "reason"),
    [
        ("timeout", False, None, "timeout"),
        ("", False, "signal 11", "signal 11"),
        ("timeout", False, "signal 9", "timeout"),
        ("", True, None, "exit"),
        ("", False, None, "unknown"),
    ],
)
def test_the_reason_is_what_is_known_of_it(start, aborted, clean, told, reason):
    """The worker's own mark first, then what the master knows."""
    dead = start()
    dead.begin("/stuck")
    if aborted:
        dead.journal.abort(aborted)
    if clean:
        dead.journal.close_cleanly()
    die(dead)
    heir = start(reasons=lambda pid: told and (told, 1 << 62))
    claim(heir)
    assert heir.memory.requests[0].reason == reason


def test_nothing_is_killed_where_nothing_was_open(start):
    """A worker that ended in order leaves nobody behind."""
    dead = start()
    dead.serve("/a")
    die(dead)
    heir = start()
    claim(heir)
    assert heir.claims.killed == 0
    assert [request.outcome for request in heir.memory.requests] == ["ok"]


def test_what_was_delivered_is_not_delivered_again(start):
    """The checkpoint says how far each exporter was."""
    dead = start()
    dead.serve("/before")
    slot = dead.begin("/open")
    dead.wake()
    dead.serve("/after")
    die(dead)
    assert slot is not None
    heir = start()
    claim(heir)
    assert heir.paths == ["/after", "/open"]
    (checkpoint,) = heir.folded.values()
    assert (checkpoint.seen, checkpoint.exporters["memory"].delivered) == (3, 3)
    assert_balanced(checkpoint)


def test_each_exporter_goes_on_where_it_was(start):
    """One had everything, the other nothing."""
    down = Backend(ExportError("down", retry_after=1e6))
    dead = start(MemoryExporter(), down)
    dead.serve("/a")
    dead.wake(0.1)
    dead.clock.advance(1)
    dead.reader.wake()
    die(dead)
    memory, backend = MemoryExporter(), Backend()
    heir = start(memory, backend)
    claim(heir)
    assert (memory.requests, backend.paths) == ([], ["/a"])
    (checkpoint,) = heir.folded.values()
    assert {name: tally.delivered for name, tally in checkpoint.exporters.items()} == {
        "memory": 1,
        "backend": 1,
    }


def test_an_exporter_that_remembers_is_not_given_what_it_has(start):
    """It had stored more than the checkpoint knew: counted, not stored again."""

    class Remembering(MemoryExporter):
        def __init__(self):
            super().__init__()
            self.upto = {}

        def export_up_to(self, records, source, position):
            self.export(records)
            self.upto[source] = position

        def acked(self, source):
            return self.upto.get(source, 0)

    exporter = Remembering()
    dead = start(exporter)
    dead.serve("/a")
    dead.clock.advance(1)
    dead.reader._read(dead.clock())  # stored ...
    dead.clock.advance(1)
    dead.reader._read(dead.clock())
    assert (
        dead.checkpoint.exporters == {} or dead.checkpoint.exporters["memory"].delivered == 0
    )  # ... unsettled
    dead.serve("/b")
    die(dead)
    heir = start(exporter)
    claim(heir)
    assert [request.path for request in exporter.requests] == ["/a", "/b"]
    (checkpoint,) = heir.folded.values()
    assert checkpoint.exporters["memory"].delivered == 2
    assert_balanced(checkpoint)


def test_a_claimer_that_dies_over_it_leaves_the_rest_to_the_next(start):
    """Killed and excluded requests are counted once in all."""
    config = settings(exclude=("/health",))
    down = Backend(ExportError("down", retry_after=1e6), spool_size=1 << 20)
    dead = start(config=config)
    dead.serve("/a")
    dead.serve("/health")
    dead.begin("/stuck")
    dead.begin("/health")
    die(dead)
    first = start(MemoryExporter(), down, config=config)
    first.wake(2.0)
    first.wake(0.5)
    (source,) = first.claims.adopted
    assert source.journal.checkpoint().exporters["memory"].delivered == 2
    first.claims.release()
    die(first)
    memory, backend = MemoryExporter(), Backend()
    second = start(memory, backend, config=config)
    claim(second)
    assert (memory.requests, backend.paths) == ([], ["/a", "/stuck"])
    checkpoint = second.folded[dead.journal.origin.id]
    assert (checkpoint.seen, checkpoint.excluded, checkpoint.in_flight) == (4, 2, 0)
    assert_balanced(checkpoint)


def test_two_claimers_never_share_a_journal(start):
    """Whoever has its lock has it."""
    dead = start()
    dead.serve("/a")
    die(dead)
    one, two = start(), start()
    for _ in range(4):
        one.wake(2.0)
        two.wake(0.0)
    assert len(one.paths) + len(two.paths) == 1


def test_a_backend_that_is_down_does_not_hold_a_dead_journal(start):
    """Its share goes to the spool, and the journal is folded."""
    dead = start(Backend())
    dead.serve("/a")
    die(dead)
    backend = Backend(ExportError("down", retry_after=30))
    heir = start(backend)
    heir.wake(2.0)
    heir.wake(0.1)
    heir.wake(PATIENCE + 1)
    heir.wake(0.1)
    checkpoint = heir.folded[dead.journal.origin.id]
    assert checkpoint.exporters["backend"].spooled == 1
    assert_balanced(checkpoint)
    heir.wake(60)
    assert backend.paths == ["/a"]
    assert heir.checkpoint.exporters["backend"].spooled == -1  # with the dead worker's 1 it is 0


def test_requests_that_only_memory_held_are_missed_and_counted(start):
    """Beyond a quarter of the ring of open requests, a kill costs them, never the count."""
    dead = start(size=65536)
    for number in range(180):
        dead.begin(f"/socket/{number}")
    for number in range(2000):
        dead.serve(f"/{number}")
        if number % 40 == 0:
            dead.wake(0.5, steps=1)
    floating = len(dead.source.joiner.afloat)
    die(dead)
    heir = start()
    claim(heir)
    assert floating > 0
    assert heir.claims.killed == 180 - floating
    (checkpoint,) = heir.folded.values()
    assert checkpoint.exporters["memory"].dropped == {"worker_died": floating}
    assert_balanced(checkpoint)


def test_carried_requests_are_killed_once_and_answered_ones_never(start):
    """Long-lived requests beside heavy traffic, and a kill at any time."""
    dead = start(size=65536)
    dead.begin("/forever")
    short = [dead.begin(f"/short/{number}") for number in range(20)]
    for number in range(1500):
        dead.serve(f"/{number}")
        if number % 30 == 0:
            dead.wake(0.5, steps=1)
        if number % 60 == 0 and short:
            dead.recorder.end(short.pop(), Outcome.OK, 200)
    die(dead)
    assert not short
    heir = start()
    claim(heir)
    told = dead.memory.requests + heir.memory.requests
    assert len({request.span_id for request in told}) == len(told) == 1521
    assert [request.path for request in told if request.outcome == "killed"] == ["/forever"]
    (checkpoint,) = heir.folded.values()
    assert checkpoint.seen == 1521
    assert_balanced(checkpoint)


def test_an_answered_request_is_not_killed_by_a_copy_of_its_begin(start):
    """Its end crossed the copy, the worker died, and so did the first who claimed its journal."""
    dead = start()
    answered = dead.begin("/answered")
    dead.wake()
    copies = dead.source.joiner.carry(dead.source.joiner.find(answered.number))
    dead.recorder.end(answered, Outcome.OK, 200)
    dead.begin("/stuck")
    dead.wake()
    for kind, payload in copies:
        dead.journal.append(kind, payload)
    die(dead)
    first = start(Backend(*[ExportError("down")] * 99, name="memory", blocking=False, sampled_only=False))
    claim(first)
    (source,) = first.claims.adopted
    assert source.journal.checkpoint().exporters["memory"].queued == 1
    first.claims.release()
    die(first)
    second = start()
    claim(second)
    assert [(request.path, request.outcome) for request in second.memory.requests] == [("/stuck", "killed")]
    assert_balanced(second.folded[dead.journal.origin.id])


@pytest.mark.parametrize("after", range(1, 40, 3))
def test_a_kill_after_any_settlement_repeats_nothing_and_loses_nothing(start, after):
    """The checkpoint and the ring belong together at every moment."""
    dead = start(size=65536)
    settlements = itertools.count(1)
    settle = dead.journal.settle

    class KilledError(BaseException):
        pass

    def settle_and_die(checkpoint):
        settle(checkpoint)
        if next(settlements) == after:
            raise KilledError

    dead.journal.settle = settle_and_die
    dead.begin("/forever")
    served = 0
    with contextlib.suppress(KilledError):
        while True:
            served += 1
            dead.serve(f"/{served}")
            if served % 20 == 0:
                dead.wake(0.3, steps=1)
    die(dead)
    heir = start()
    claim(heir)
    told = dead.memory.requests + heir.memory.requests
    assert len(told) == served + 1
    assert len({request.span_id for request in told}) == served + 1
    (checkpoint,) = heir.folded.values()
    assert checkpoint.seen == served + 1
    assert_balanced(checkpoint)


class Fickle(MemoryExporter):
    """Takes a batch, or does not, as the dice say."""

    sampled_only = False

    def __init__(self, dice: random.Random, taken: list) -> None:
        super().__init__()
        self.dice, self.taken = dice, taken

    def export(self, records):
        if self.dice.random() < 0.4:
            raise ExportError("not now")
        self.taken.extend(record for record in records if isinstance(record, Request))


def live(worker: Worker, dice: random.Random, steps: int) -> tuple[int, set[str]]:
    """A worker's life, long requests among short ones; how many began, and which were answered."""
    begun, answered, waiting = 0, set(), []
    copies: list[tuple[int, bytes]] = []
    for _ in range(steps):
        deed = dice.choice(("serve", "serve", "begin", "end", "wake", "wake", "copy", "paste"))
        if deed == "serve":
            for _ in range(dice.randrange(40)):
                worker.serve(f"/{begun}")
                answered.add(f"/{begun}")
                begun += 1
        elif deed == "begin":
            waiting.append((worker.begin(f"/{begun}"), f"/{begun}"))
            begun += 1
        elif deed == "end" and waiting:
            slot, path = waiting.pop(dice.randrange(len(waiting)))
            worker.recorder.end(slot, Outcome.OK, 200)
            answered.add(path)
        elif deed == "wake":
            worker.wake(dice.random(), steps=1)
        elif deed == "copy" and not copies:  # what the reader does in one go, with requests in between
            trail = dice.choice([*worker.source.joiner.open.values(), None])
            if trail is not None and not worker.source.joiner.moving(trail):
                copies = worker.source.joiner.carry(trail)
        elif deed == "paste":
            for kind, payload in copies:
                assert worker.journal.append(kind, payload)
            copies = []
    return begun, answered


@chosen(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_whoever_dies_when_every_request_is_told_once_and_truly(start, seed):
    """A worker's life drawn at random, and claimers that die over its journal one after the other."""
    dice, taken = random.Random(seed), []
    dead = start(Fickle(dice, taken), size=1 << 20)
    begun, answered = live(dead, dice, 60)
    floating = set(dead.source.joiner.afloat)
    lost = dead.journal.lost
    die(dead)
    for _ in range(dice.randrange(4)):
        claimer = start(Fickle(dice, taken), size=1 << 20)
        for _ in range(dice.randrange(1, 4)):
            claimer.wake(dice.random() * 2, steps=1)
        claimer.claims.release()
        die(claimer)
    heir = start(Fickle(dice, taken), size=1 << 20)
    while dead.journal.origin.id not in heir.folded:
        heir.wake(5.0)
        if not heir.claims.adopted and heir.claims.found_nothing:
            break  # a claimer before it folded it
    die(heir)
    told = {request.path: request.outcome for request in taken}
    assert len(told) == len(taken)
    assert len(told) == begun - lost - len(floating)
    assert {path for path, outcome in told.items() if outcome == "killed"}.isdisjoint(answered)


def test_its_repr_says_what_was_done(start):
    """In hand, finished, killed."""
    heir = start()
    assert repr(heir.claims) == "<Claims 0 in hand · 0 finished · 0 killed requests>"
