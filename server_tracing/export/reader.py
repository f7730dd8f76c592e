"""The reader: one thread per worker that wakes often, does a little, and sleeps for real.

    read -> join -> shape -> decide -> lanes -> outlets -> settle

Only what every exporter has acknowledged, or a spool holds, is released from the journal. The reader waits
for nobody: what may block has a sender of its own.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from server_tracing import unpatched
from server_tracing.journal.journals import Journals
from server_tracing.journal.ledger import Checkpoint, Tally
from server_tracing.store import StoreError

from .heirs.claims import Claims, close_journal
from .heirs.siblings import Siblings
from .lane import Outlet
from .sending.spool import Spool
from .signals import Bell, Doorbell
from .source import Source, book

# Seconds between wakes, drawn anew each time, so that workers do not wake in step. One that finds nothing
# takes 10 us when repeated at once, 350 on a busy machine, whose caches have forgotten us meanwhile (ran).
WAKE_EVERY = (0.05, 0.1)
QUIET_EVERY = (0.2, 0.4)  # while nothing is served, delivered or adopted
FIRST_STEPS = 0.5  # seconds they may take, of the start of a worker; 3 ms mostly
READERS_SHARE = 0.3  # of the time that a shutdown may still take
SENDERS_SHARE = 0.6  # the same; the rest is for spooling and settling
SLICES = 64  # in one go; then the chores have their turn
ALONE = "what this worker sees is kept in its journal, and delivered when the worker ends, or by the next one"
log = logging.getLogger("server_tracing.export")


class Sink(Outlet, Protocol):
    """What the reader needs of an outlet."""

    spool: Spool | None
    trouble: str  # what went wrong last, while it does

    def relieve(self, *, pressed: bool, last: bool = False) -> None:
        """Let no batch keep the journal waiting, or none at all at the `last`."""

    def written(self) -> list[str]:
        """Spool files to publish once the journals are settled."""

    def halt(self) -> None:
        """Deliver what is in memory, then be done."""

    def wait(self, seconds: float) -> bool:
        """Wait until it is done, `seconds` at most; is it?"""

    def close(self) -> None:
        """Let go of what the exporter holds open."""


class Reader:
    """Everything between the journals and the outlets. All of it runs in one thread."""

    def __init__(
        self,
        home: Source,
        sinks: Sequence[Sink],
        claims: Claims,
        journals: Journals,
        fold: Callable[[str, Checkpoint], object],
        *,
        chores: Sequence[Callable[[float], None]] = (),
        farewell: Callable[[float], None] = lambda now: None,
        first: Sequence[Callable[[], None]] = (),
        siblings: Siblings | None = None,
        last_words: Callable[[float], None] = lambda now: None,
        last: Sequence[Callable[[], None]] = (),
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.home = home
        self.claims = claims
        self._sinks = sinks
        self._journals = journals
        self._fold = fold
        self._chores = chores
        self._farewell = farewell  # what is still to be said when everything has been read
        self._last_words = last_words  # ... and when everything has been sent
        self._last = last
        self._clock = clock
        self._draw = draw
        self._first = first
        self._siblings = siblings
        self._bell = Doorbell()
        self._ready = Bell()
        self._over = Bell()
        self._pid = 0
        self._alone = False  # no thread of its own could be had
        self._stopping = False
        self._behind = False  # there is more to read than one wake could
        self._deadline = 0.0
        self.faults = 0  # wakes that ended in an exception: bugs of ours

    # ------------------------------------------------------------ its life

    def start(self, start_thread: Callable[[Callable[[], None]], object] = unpatched.start_thread) -> None:
        """Begin, in the process that serves; its first steps are done before it serves anybody."""
        self._pid = os.getpid()
        try:
            self._bell.put_up()
            start_thread(self._run)
        except (RuntimeError, OSError) as error:  # more threads or files than the system allows
            self._alone = True
            log.error("No thread can be started (%s): %s", error, ALONE)
            return
        self._ready.wait(FIRST_STEPS)

    def ring(self) -> None:
        """Wake now rather than soon."""
        self._bell.ring()

    def stop(self, seconds: float) -> bool:
        """Deliver what can be delivered in `seconds`, settle, and end; was everything done in time?"""
        if self._pid != os.getpid():
            return True
        if self._alone:
            self.finish(seconds)
            return True
        self._deadline = self._clock() + seconds
        self._stopping = True
        self._bell.ring()
        return self._over.wait(seconds)

    def _run(self) -> None:
        try:
            for step in self._first:
                self._guarded(step)
            self._ready.ring()
            while not self._stopping:
                self._guarded(self.wake)
                self._bell.wait(self._pause(), self._others())
            self._guarded(self._finish)
        finally:
            self._over.ring()

    def _pause(self) -> float:
        if self._behind:
            return 0.0
        quiet = self.home.idle and not self.home.joiner.in_flight and not self.claims.adopted
        return self._draw(*(QUIET_EVERY if quiet else WAKE_EVERY))

    def _others(self) -> Iterable[int]:
        return self._siblings.files if self._siblings is not None else ()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            self.faults += 1
            if self.faults in (1, 10, 100):
                log.exception("a fault in the exporter's reader (%d so far)", self.faults)

    # ------------------------------------------------------------ one wake

    def wake(self) -> None:
        """Read everything new, hand it on, settle."""
        now = self._clock()
        self.home.journal.beat(time.monotonic_ns())
        self._read(now)
        self._mind_siblings(now)
        self.claims.look(now)
        self.claims.work(now)
        for chore in self._chores:
            chore(now)
        self._turn_over()
        self.claims.finish()

    def _mind_siblings(self, now: float) -> None:
        if self._siblings is not None:
            if self._siblings.note():
                self.claims.hasten()
            self._siblings.look(now)

    def _read(self, now: float) -> None:
        settled = self.home.position
        self._behind = True
        for _ in range(SLICES):
            if not self.home.read(now):
                self._behind = False
                break
            if self.home.position - settled > self.home.journal.size // 8:
                self._turn_over()
                settled = self.home.position

    def _turn_over(self) -> None:
        """Let outlets let go of what they hold too long, count what became of it, release its room."""
        pressed = self.home.position - self.home.journal.tail > self.home.journal.size // 2
        for sink in self._sinks:
            sink.relieve(pressed=pressed)
        self._settle()

    def _settle(self) -> None:
        closed = [(sink, closing) for sink in self._sinks if sink.spool for closing in sink.spool.collect()]
        for sink, closing in closed:
            book(self._tally(sink), closing)
        written = [part for sink in self._sinks for part in sink.written()]
        self.home.settle()
        self.claims.settle()
        # A kill before this point repeats these batches from the journal; one after it, from the spool.
        for part in written:
            Spool.publish(part)
        for _, closing in closed:
            closing.remove()

    def _tally(self, sink: Sink) -> Tally:
        return next(lane.tally for lane in self.home.lanes if lane.outlet is sink)

    def _sources(self) -> Iterator[Source]:
        yield self.home
        yield from self.claims.sources

    # ------------------------------------------------------------ what it has come to

    @property
    def delivered(self) -> dict[str, int]:
        """Requests delivered from every journal this reader has had, by exporter."""
        return {
            sink.name: self.claims.delivered.get(sink.name, 0) + self._tally(sink).delivered
            for sink in self._sinks
        }

    @property
    def dropped(self) -> dict[str, Counter[str]]:
        """Requests let go since this reader began, whosever they were, by exporter and reason."""
        total: dict[str, Counter[str]] = {}
        for news in (self.claims.dropped, *(source.newly_dropped() for source in self._sources())):
            for name, dropped in news.items():
                total[name] = total.get(name, Counter()) + dropped
        return total

    def waiting(self) -> dict[str, int]:
        """Requests on disk, by exporter."""
        return {sink.name: sink.spool.waiting() for sink in self._sinks if sink.spool is not None}

    @property
    def at_rest(self) -> bool:
        """Is there nothing left to adopt, to read or to deliver?"""
        drained = all(sink.spool.empty for sink in self._sinks if sink.spool is not None)
        return self.claims.found_nothing and not self.claims.adopted and drained

    # ------------------------------------------------------------ the end

    def finish(self, seconds: float) -> None:
        """As `stop`, in the calling thread: for a reader that was never started."""
        self._deadline = self._clock() + seconds
        self._guarded(self._finish)

    def _finish(self) -> None:
        """Read the rest, give the backends what time there is, spool what is left, leave in order."""
        self._read_the_rest()
        self._farewell(self._clock())
        self._hand_out_the_rest()
        self._settle()
        self._send_the_rest()
        self._settle()
        all_read = self._all_read
        self._last_words(self._clock())
        if all_read:  # else they are for whoever reads what was served before them
            self._hand_out_the_rest()
            self._spool_the_rest()
        for sink in self._sinks:
            if sink.spool is not None:
                sink.spool.seal()
        self._settle()
        self.claims.finish()
        self.claims.release()
        self._leave()
        for sink in self._sinks:
            sink.close()
        if self._siblings is not None:
            self._siblings.close()
        for step in self._last:
            step()

    @property
    def _all_read(self) -> bool:
        """Or is a thread of the server still at it, or no time left?"""
        return self.home.position >= self.home.journal.head

    def _hand_out_the_rest(self) -> None:
        self._read_the_rest()
        self.home.flush(self._clock())

    def _read_the_rest(self) -> None:
        """Requests may still be coming in: what there is no time for waits in the journal."""
        until = self._share(READERS_SHARE)
        while self.home.read(now := self._clock()) and now < until:
            pass

    def _send_the_rest(self) -> None:
        for sink in self._sinks:
            sink.halt()
        until = self._share(SENDERS_SHARE)
        for sink in self._sinks:
            sink.wait(until - self._clock())
        self._spool_the_rest()

    def _share(self, share: float) -> float:
        """Until when that part of the time that is left lasts."""
        now = self._clock()
        return now + (self._deadline - now) * share

    def _spool_the_rest(self) -> None:
        for sink in self._sinks:
            sink.relieve(pressed=False, last=True)

    def _leave(self) -> None:
        """Fold our own journal if nothing is left in it; else leave it to whoever claims it."""
        if self.home.journal.path is None:
            self.home.give_up()  # there is no next one
        if self._all_read and self.home.idle and not self.home.joiner.in_flight:
            try:
                close_journal(self.home, self._fold, self._journals)
                return
            except StoreError as error:
                log.debug("the counts of this worker are folded by the next one: %s", error)
        self._journals.release(self.home.journal)

    def __repr__(self) -> str:
        state = "stopping" if self._stopping else "running" if self._pid else "not started"
        flying = self.home.joiner.in_flight
        return f"<Reader {state} · {flying} in flight · {self.claims!r} · {self.faults} faults>"
