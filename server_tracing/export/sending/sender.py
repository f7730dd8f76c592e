"""The way to a backend that may make us wait: one thread, a queue in memory, and behind it a spool on disk.

The thread is born when the first batch comes. It delivers in order, backs off when the backend fails, and
turns to the spool when nothing newer waits. The reader never waits for it: what has been here for longer
than PATIENCE, or is in the way of the journal, it takes back and spools, also out of a hand that hangs.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple

from server_tracing import unpatched
from server_tracing.export.exporter import Exporter, Parting, Tended, close_exporter, traits
from server_tracing.export.signals import Bell
from server_tracing.record import Record

from .backlog import Backlog
from .batch import Batch
from .delivery import BackOff, Verdict, attempt
from .overflow import Overflow, is_much
from .parcel import Parcel
from .spool import Claimed, Spool

PATIENCE = 3.0  # seconds a batch may keep its room in the journal
LONG_PATIENCE = 30.0  # the same while the backend is known to be down: fewer and larger files
KNOWN_TO_BE_DOWN = 3  # failures in a row
IDLE = 5.0  # seconds between looks at a spool that other workers fill too


log = logging.getLogger("server_tracing.export")


class Sender:
    """Batches for one backend. The public methods are the reader's, `_run` and below its own thread's.

    Shared, and changed under `_lock`: `_queue`, `_hand`, `_taken_back`, `_late`, and what became of a batch.
    """

    def __init__(
        self,
        exporter: Exporter,
        spool: Spool,
        *,
        clock: Callable[[], float] = monotonic,
        back_off: BackOff | None = None,
        start_thread: Callable[[Callable[[], None]], object] = unpatched.start_thread,
    ) -> None:
        self.name = exporter.name
        self.traits = traits(exporter)
        self.exporter = exporter
        self.spool: Spool | None = spool
        self._spool = spool
        self.trouble = ""
        self._clock = clock
        self._back_off = back_off or BackOff()
        self._start_thread = start_thread
        self._lock = unpatched.lock()
        self._bell = Bell()
        self._over = Bell()
        self._queue: deque[Batch] = deque()
        self._hand: Batch | None = None
        self._taken_back = False  # the batch in hand was spooled meanwhile: its outcome counts no more
        self._overtaken: Batch | None = None  # the last batch of which that is so
        self._overflow = Overflow(spool, may_spool=bool(self.traits.spool_size))
        self._late: list[Late] = []
        self._backlog = Backlog(spool)
        self._tended = exporter if isinstance(exporter, Tended) else None
        self._tend_at = 0.0
        self._not_before = 0.0
        self._look_again = 0.0
        self._pid = 0  # of the process that started the thread
        self._stopping = False
        self._ended = False
        self.faults = 0  # bugs of ours

    def stored(self, source: str) -> int:
        """A backend remembers nothing for us."""
        return 0

    # ------------------------------------------------------------ the reader's side

    def offer(self, batch: Batch) -> None:
        """Take a batch, to be delivered soon."""
        batch.born = self._clock()  # our patience with the backend begins now, however late the reader was
        with self._lock:
            self._queue.append(batch)
        self.start()
        self._bell.ring()

    def start(self) -> None:
        """Have the thread running, if it is not."""
        if self._pid != os.getpid():
            self._start_thread(self._run)  # may raise; then the reader spools, and the next batch tries again
            self._pid = os.getpid()

    def relieve(self, *, pressed: bool, last: bool = False) -> None:
        """Spool what has waited too long, or everything when the journal needs its room back.

        What cannot be spooled is held on to, until there is too much of it or the journal needs its room; at
        the `last` it is left in the journal, from which the next worker takes it.
        """
        taken = self._take_back(pressed or last)
        kept = self._overflow.write(taken, self._overtaken)
        if kept:
            self._give_back(kept)
            if not last:
                self._let_go(everything=pressed)
        elif any(batch.spooled for batch in taken):  # last words are no reason to drop anything more
            self._spool.trim()
        elif not taken and not self._queue:
            self._spool.trouble = ""  # there is nothing to be written any more
        if self._pid != os.getpid() and self._clock() >= self._look_again:
            self._look_again = self._clock() + IDLE
            if self._tended is not None or not self._spool.empty:  # left behind by an earlier start
                self.start()

    def _take_back(self, everything: bool) -> list[Batch]:
        """Batches that must not wait in memory any longer, oldest first; all of them once one has to go."""
        with self._lock:
            patience = LONG_PATIENCE if self._back_off.failures > KNOWN_TO_BE_DOWN else PATIENCE
            in_hand = [] if self._hand is None or self._taken_back else [self._hand]
            held = [*in_hand, *self._queue]
            late = bool(held) and held[0].born < self._clock() - patience
            if not (everything or late or is_much(held)):
                return []
            self._taken_back, self._overtaken = self._hand is not None, self._hand
            self._queue.clear()
            return held

    def _give_back(self, batches: Sequence[Batch]) -> None:
        """These could not be spooled: they wait in memory once more."""
        with self._lock:
            for batch in reversed(batches):
                batch.born = self._clock()
                if batch is self._hand:
                    self._taken_back = False
                    continue
                for late in self._late:
                    if late.batch is batch:  # the backend has answered meanwhile
                        batch.book(late.verdict)
                if not batch.done:
                    self._queue.appendleft(batch)
                self._late = [late for late in self._late if late.batch is not batch]

    def _let_go(self, *, everything: bool) -> None:
        """Drop the oldest of what waits in memory while that is too much."""
        with self._lock:
            while self._queue and (everything or is_much(self._queue)):
                self._queue.popleft().drop_rest("spool_failed")

    def written(self) -> list[str]:
        """Spool files to publish once the journals are settled."""
        return self._overflow.written()

    def halt(self) -> None:
        """Send what is in memory, once, and end."""
        self._stopping = True
        self._bell.ring()

    def wait(self, seconds: float) -> bool:
        """Wait for the thread to end, `seconds` at most; has it?"""
        return self._pid != os.getpid() or self._over.wait(seconds)

    def close(self) -> None:
        """Let go of what the exporter holds open, if its thread is not still using it."""
        if self._pid != os.getpid() or self._ended:
            close_exporter(self.exporter)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while True:
            wait = self._guarded_step()
            if self._stopping and (wait > 0 or not self._queue):
                break
            if wait > 0:
                self._bell.wait(wait)
        self._close_late()
        self._backlog.leave()
        self._part()
        self._ended = True
        self._over.ring()

    def _guarded_step(self) -> float:
        try:
            return min(self.step(), self._tend())
        except Exception:
            self.faults += 1
            if self.faults == 1:
                log.exception("a fault in the sender for %s; it goes on", self.name)
            return IDLE

    def _tend(self) -> float:
        """Let the exporter do what else it has to; how many seconds until there is more of that."""
        if self._tended is None or self._stopping:
            return float("inf")
        if self._clock() >= self._tend_at:
            self._tend_at = self._clock() + IDLE  # should it fail
            self._tend_at = self._clock() + self._tended.tend()
        return max(0.0, self._tend_at - self._clock())

    def _part(self) -> None:
        """Let the exporter say its last, if its backend listens."""
        if isinstance(self.exporter, Parting) and not self.trouble:
            try:
                self.exporter.part()
            except Exception:
                log.exception("%s did not part in order", self.name)

    def step(self) -> float:
        """Do one thing; how many seconds until there is another."""
        self._close_late()
        now = self._clock()
        if now < self._not_before:
            return self._not_before - now
        batch = self._pick_up()
        if batch is not None:
            records = batch.records
            return self._put_down(Late(batch, records, attempt(self.exporter.export, records)))
        if self._stopping or now < self._look_again:
            return max(self._look_again - now, 0.01)
        return self._send_spooled()

    def _pick_up(self) -> Batch | None:
        with self._lock:
            self._hand = self._queue.popleft() if self._queue else None
            self._taken_back = False
            return self._hand

    def _put_down(self, answered: Late) -> float:
        batch, _, verdict = answered
        with self._lock:
            if not self._taken_back:
                batch.book(verdict)
                if not batch.done:
                    self._queue.appendleft(batch)
            else:
                self._late.append(answered)
            self._hand = None
        return self._mind(verdict)

    def _mind(self, verdict: Verdict) -> float:
        """Remember how the backend is; how long to leave it alone."""
        if verdict.error is None:
            self._back_off.succeeded()
            self.trouble = ""
            self._look_again = 0.0
            return 0.0
        self.trouble = verdict.error.told
        wait = self._back_off.failed(verdict.error.retry_after)
        self._not_before = self._clock() + wait
        return wait

    def _close_late(self) -> None:
        """What the backend took after all, when it had been spooled already, need not be sent again."""
        with self._lock:  # the reader is still at those that are not done
            answered = [late for late in self._late if late.batch.done]
            self._late = [late for late in self._late if not late.batch.done]
        for late in answered:
            held = late.batch.held
            if held is not None and not self._settle(late, held):
                with self._lock:
                    self._late.append(late)

    def _settle(self, late: Late, held: Claimed) -> bool:
        """Deal with a spool file by an answer that came too late; False if that is not possible yet."""
        parcel = late.parcel
        if not parcel.moved:
            self._spool.give_up(held)
            return True
        if not os.path.exists(held.path):  # it is about to be published
            return False
        if parcel.done:
            self._spool.close(held, parcel.delivered, parcel.dropped)
        return parcel.done or self._backlog.take(held, parcel)

    def _send_spooled(self) -> float:
        parcel = self._backlog.pick_up()
        if parcel is None:
            self._look_again = self._clock() + IDLE
            return IDLE
        if not parcel.records:
            self._backlog.close()
            return 0.0
        verdict = attempt(self.exporter.export, parcel.records)
        self._backlog.put_down(verdict)
        return self._mind(verdict)

    def __repr__(self) -> str:
        held = sum(len(batch.records) for batch in self._queue)
        state = f"failing: {self.trouble}" if self.trouble else "healthy"
        return f"<Sender {self.name} · {held} records held · {state}>"


class Late(NamedTuple):
    """The answer to a batch that may have been taken back out of the hand meanwhile."""

    batch: Batch
    records: Sequence[Record]  # that were sent; the batch may have none any more
    verdict: Verdict

    @property
    def parcel(self) -> Parcel:
        """What is left of it, and what became of the rest."""
        parcel = Parcel(self.records)
        parcel.book(self.verdict)
        return parcel
