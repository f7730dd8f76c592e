"""Writing, reading, acknowledging, full rings, crashes, reopening and claims by two, in any order: a model
knows what each request has a right to, and every exporter's account is exact."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from export_kit import Clock, Worker, origin, settings
from hypothesis import Phase
from hypothesis import settings as chosen
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from report import size

from server_tracing.export.exporter import ExportError
from server_tracing.export.memory import MemoryExporter
from server_tracing.export.sending.sender import Sender
from server_tracing.identity import new_id
from server_tracing.journal.journals import Journals
from server_tracing.journal.ledger import Checkpoint
from server_tracing.record import Outcome, Request

ROOM = 65536


class Sometimes(MemoryExporter):
    """Takes what it gets while it is up: inline, or with a spool behind it."""

    sampled_only = False
    max_batch = 8

    def __init__(self, machine: AnyOrder, name: str, *, blocking: bool) -> None:
        super().__init__()
        self.machine, self.name, self.blocking = machine, name, blocking

    def export(self, records) -> None:
        if not self.machine.up:
            raise ExportError("down", retry_after=0.5)
        self.machine.told[self.name] += [record for record in records if isinstance(record, Request)]


class AnyOrder(RuleBasedStateMachine):
    """Workers of one state directory, two at a time, and what their clients know."""

    @initialize()
    def begin_anew(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="server-tracing-", dir="/dev/shm"))
        self.clock, self.up = Clock(), True
        self.told: dict[str, list[Request]] = {"inline": [], "spooling": []}
        self.folded: dict[str, Checkpoint] = {}
        self.begun: set[str] = set()  # of which the journal has a begin
        self.answered: set[str] = set()
        self.afloat: set[str] = set()  # kept in memory alone when their worker was killed
        self.asked, self.lost = 0, 0
        self.workers = [self.start(), self.start()]
        self.open: list[list] = [[], []]

    def start(self) -> Worker:
        state = str(self.folder / "state")
        journals = Journals(state, service="shop", destinations="d", shm=str(self.folder))
        journal = journals.create(origin(new_id(), seed=new_id().encode(), state_dir=state), ROOM)
        return Worker(
            Sometimes(self, "inline", blocking=False),
            Sometimes(self, "spooling", blocking=True),
            config=settings(state_dir=state),
            journal=journal,
            journals=journals,
            folder=self.folder,
            clock=self.clock,
            fold=self.fold,
        )

    def fold(self, source: str, checkpoint: Checkpoint) -> None:
        assert source not in self.folded, "a journal is counted once"
        self.folded[source] = checkpoint

    # ------------------------------------------------------------ what happens

    def ask(self, which: int) -> tuple:
        self.asked += 1
        slot = self.workers[which].begin(f"/{self.asked}")
        if slot is None:
            self.lost += 1
        else:
            self.begun.add(f"/{self.asked}")
        return slot, f"/{self.asked}"

    def answer(self, which: int, slot, path: str) -> None:
        self.workers[which].recorder.end(slot, Outcome.OK, 200, fault=None)
        if slot is not None:
            self.answered.add(path)

    @rule(which=st.integers(0, 1), count=st.integers(1, 30))
    def serve(self, which: int, count: int) -> None:
        for _ in range(count):
            self.answer(which, *self.ask(which))

    @rule(which=st.integers(0, 1))
    def begin_one(self, which: int) -> None:
        self.open[which].append(self.ask(which))

    @rule(which=st.integers(0, 1), choice=st.integers(0, 99))
    def end_one(self, which: int, choice: int) -> None:
        if self.open[which]:
            self.answer(which, *self.open[which].pop(choice % len(self.open[which])))

    @rule(which=st.integers(0, 1))
    def fill(self, which: int) -> None:
        before = self.lost
        while self.lost == before:
            self.answer(which, *self.ask(which))

    @rule(which=st.integers(0, 1), seconds=st.sampled_from([0.05, 0.6, 4.0]), steps=st.integers(0, 3))
    def wake(self, which: int, seconds: float, steps: int) -> None:
        self.workers[which].wake(seconds, steps=steps)
        self.note_afloat(self.workers[which])

    @rule()
    def turn_backend(self) -> None:
        self.up = not self.up

    @rule(which=st.integers(0, 1))
    def crash(self, which: int) -> None:
        worker = self.workers[which]
        self.note_afloat(worker)
        for source in worker.claims.adopted:  # the locks of a killed process are free, all of them
            worker.journals.release(source.journal)
        self.forget_spool_locks(worker)
        worker.journals.release(worker.journal)
        self.workers[which], self.open[which] = self.start(), []

    @rule(which=st.integers(0, 1))
    @precondition(lambda self: not all(self.open))
    def stop_in_order(self, which: int) -> None:
        for slot, path in self.open[which]:
            self.answer(which, slot, path)
        self.forget_spool_locks(self.workers[which])
        self.workers[which].reader.finish(0.0)  # what there was no time to read waits for an heir
        self.note_afloat(self.workers[which])
        self.workers[which], self.open[which] = self.start(), []

    def note_afloat(self, worker: Worker) -> None:
        """What stands in a worker's memory alone goes with it, until every exporter has it."""
        self.afloat |= {trail.begin.target for trail in worker.source.joiner.afloat.values()}

    @staticmethod
    def forget_spool_locks(worker: Worker) -> None:
        for sink in worker.sinks:
            if isinstance(sink, Sender):
                sink._backlog.leave()

    # ------------------------------------------------------------ what holds

    @invariant()
    def nothing_is_told_twice_or_wrongly(self) -> None:
        for told in getattr(self, "told", {}).values():
            assert max(Counter(request.path for request in told).values(), default=1) == 1
            killed = {request.path for request in told if request.outcome == "killed"}
            assert killed.isdisjoint(self.answered)

    def teardown(self) -> None:
        """In the end everything is told or counted: bring the backend up and let heirs finish."""
        if not hasattr(self, "workers"):
            return
        try:
            self.up = True
            for which in (0, 1):
                self.crash(which)
            for _ in range(40):
                for worker in self.workers:
                    worker.wake(30.0, steps=3)
            for worker in self.workers:
                worker.reader.finish(0.0)
            self.nothing_is_told_twice_or_wrongly()
            self.assert_accounts()
        finally:
            shutil.rmtree(self.folder)

    def assert_accounts(self) -> None:
        assert sum(checkpoint.seen for checkpoint in self.folded.values()) == self.asked
        for name, told in self.told.items():
            tallies = [one.exporters[name] for one in self.folded.values() if name in one.exporters]
            delivered = sum(tally.delivered for tally in tallies)
            dropped = sum((Counter(tally.dropped) for tally in tallies), Counter())
            assert sum(tally.spooled for tally in tallies) == 0
            assert delivered == len(told)
            assert delivered + sum(dropped.values()) == self.asked
            assert dropped["full"] == self.lost
            assert set(dropped) <= {"full", "refused", "worker_died"}, dropped
            missing = self.begun - {request.path for request in told}
            assert len(missing) == sum(dropped.values()) - self.lost
            assert dropped["worker_died"] <= len(self.afloat)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.__doc__ = "Whatever the order, nothing is told twice or wrongly, and every account is exact."
TestAnyOrder.settings = chosen(
    max_examples=size(25, 1500),
    stateful_step_count=size(25, 60),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking runs for minutes; the seed is printed
)
