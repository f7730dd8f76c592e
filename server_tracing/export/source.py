"""A source: one journal being read, this worker's own or one of a worker that is gone.

Frames are joined, shaped, decided on and handed to the lanes; the checkpoint says at any time how far that
went. The tail never passes what a crash would cost: an open request, or a record not acknowledged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from server_tracing.journal import Journal
from server_tracing.journal.ledger import Checkpoint, Tally
from server_tracing.journal.ring import MINIMAL_ROOM
from server_tracing.record import Counts, End, Mark, Outcome, Record, Request, Stack, Vitals
from server_tracing.sampling import Sampler

from .heirs.deaths import Death
from .join import Joiner
from .lane import Lane, Outlet
from .pace import Pace
from .sending.spool import Spool
from .sending.spool_names import Closed
from .shape import Shaper
from .stuck.dump import frames_for
from .trail import Loss, Trail
from .wallclock import stepped

WEBSOCKET = ("ws", "wss")
NO_VITALS = Vitals(0, -1, -1.0, -1, -1, 0, 0)
SLICE = 64  # frames
FRAMES = 8  # after which the pace is asked: those of four requests, mostly


class Source:
    """One journal on its way to every outlet. Touched by the reader's thread alone."""

    def __init__(
        self, journal: Journal, outlets: Sequence[Outlet], shaper: Shaper, sampler: Sampler, pace: Pace
    ) -> None:
        checkpoint = journal.checkpoint()
        self.id = journal.origin.id
        self.journal = journal
        self.position = checkpoint.tail
        self.joiner = Joiner(adopted=not journal.live, counted_from=checkpoint.read)
        self._read_before = checkpoint.read
        self._end = 0  # behind the last request that was reported as killed
        self._highest = 0  # of the numbers in a journal where frames are missing
        self._seen_before = checkpoint.seen - checkpoint.lost
        self._excluded = checkpoint.excluded
        self._garbled_before = checkpoint.garbled
        self._whole_before = checkpoint.whole
        self._tallies = checkpoint.exporters
        self._counts = checkpoint.counts or Counts()
        self._last_vitals = checkpoint.vitals
        self.lanes = [self._lane(outlet, checkpoint) for outlet in outlets]
        self._delivered_before = {lane.outlet.name: lane.tally.delivered for lane in self.lanes}
        self._dropped_before = {name: Counter(tally.dropped) for name, tally in self._tallies.items()}
        self.stepped = checkpoint.stepped  # by how much the wall clock was set since the worker started
        shaper.set_clock(self.stepped)
        self._shaper = shaper
        self._sampler = sampler
        self._pace = pace
        self._tail = checkpoint.tail
        if checkpoint.vitals is not None:
            self._remember(checkpoint.vitals)

    def _lane(self, outlet: Outlet, checkpoint: Checkpoint) -> Lane:
        stored = 0 if self.journal.live else outlet.stored(self.id)  # of a new journal nobody has anything
        return Lane(self.id, outlet, checkpoint.tally(outlet.name), stored)

    def _remember(self, vitals: Vitals) -> None:
        try:
            self._shaper.vitals(vitals)
        except Exception:  # noqa: BLE001 - a stamp beyond all time: it costs the vitals, not the journal
            self._last_vitals = None

    def adopt_spool(self, outlet: Outlet, spool: Spool) -> None:
        """Take over what a dead worker left half-done in a spool."""
        if self.journal.live:
            return
        lane = next(lane for lane in self.lanes if lane.outlet is outlet)
        closed = spool.adopt(self.id, lane.tally.acked, lane.tally.closed)
        for closing in closed:
            book(lane.tally, closing)
        if closed:
            self.journal.settle(self.checkpoint())
        for closing in closed:
            closing.remove()

    # ------------------------------------------------------------ reading

    def read(self, now: float) -> int:
        """Take one slice of frames; how many there were."""
        frames, position = self.journal.read(self.position, SLICE)
        feed, finish = self.joiner.feed, self._finish
        for place, (position_of, kind, payload) in enumerate(frames):
            joined = feed(position_of, kind, payload)
            if isinstance(joined, Trail):
                finish(joined, now)
            elif joined is not None:
                self._tell(joined, position_of, now)
            if place % FRAMES == FRAMES - 1:
                self._pace.breathe(FRAMES // 2)
        self.position = position
        for lane in self.lanes:
            lane.advance(position, now)
        return len(frames)

    def _finish(self, trail: Trail, now: float) -> None:
        try:
            request = self._shaper.request(trail)
            if request is not None:
                self._sampler.decide(request, int(request.trace_id, 16), trail.told)
        except Exception:  # noqa: BLE001 - whatever a frame may hold, it costs one record and a count
            self._lose("garbled", trail.position, now)
            return
        if request is None:
            if trail.position >= self._read_before:
                self._excluded += 1
            return
        if trail.position >= self._read_before:
            self._count(request)
        self._hand_on(request, trail.position, trail.pin, now)

    def _count(self, request: Request) -> None:
        counts = self._counts
        counts.requests += 1
        if request.scheme not in WEBSOCKET and not request.event_stream:
            counts.timed += 1
            counts.busy_ms += request.duration_ms
        if request.exception is not None:
            counts.exceptions += 1

    @property
    def counts(self) -> Counts:
        """What ended, so far."""
        counts = self._counts
        return Counts(counts.requests + self.journal.lost, counts.timed, counts.busy_ms, counts.exceptions)

    def _tell(self, joined: Loss | Vitals | Mark, position: int, now: float) -> None:
        if isinstance(joined, Loss):
            self._lose(joined.reason, position, now)
            return
        try:
            record: Record
            if isinstance(joined, Vitals):
                self._last_vitals = joined
                record = self._shaper.vitals(joined)
            else:
                if position >= self._read_before:
                    self.stepped += stepped(joined)
                    self._shaper.set_clock(self.stepped)
                record = self._shaper.event(joined)
        except Exception:  # noqa: BLE001 - as above
            self.joiner.garbled += 1
            return
        self._hand_on(record, position, position, now)

    def _hand_on(self, record: Record, position: int, pin: int, now: float) -> None:
        if pin < 0:  # begun in memory alone: the ring cannot give it back anyway
            pin = position
        for lane in self.lanes:
            lane.take(record, position, pin, now)

    def _lose(self, reason: str, position: int, now: float) -> None:
        for lane in self.lanes:
            lane.lose(reason, position, now)

    # ------------------------------------------------------------ the end of a dead worker's journal

    def report_killed(self, death: Death, now: float) -> None:
        """Everything is read and the worker is gone: what is open now was killed with it.

        Their ends stand nowhere; they are given the positions behind the last frame, in the order of their
        numbers, so that whoever has to repeat this after another crash counts the same ones the same way.
        Where frames are missing, what was open then may have ended: it is lost, and nobody's to call killed.
        """
        if self.position < self._whole_before or self.journal.cut:
            self.joiner.gap()
        trails = sorted([*self.joiner.open.values(), *self.joiner.afloat.values()], key=_number)
        for offset, trail in enumerate(trails):
            if trail.begin.number in self.joiner.doubtful:
                continue
            trail.position = self.position + offset
            stop = max(self._last_sign(trail), death.stamp)
            trail.end = End(trail.begin.number, stop, Outcome.KILLED, reason=death.reason)
            frames = frames_for(death.words, trail.thread)
            if frames:
                trail.stack = Stack(trail.begin.number, stop, frames)
            self._finish(trail, now)
        self._end = self.position + len(trails)
        self._tell_last_counts(now)
        self._highest = self.joiner.highest if self.joiner.gaps else 0
        self.joiner.open.clear()
        self.joiner.afloat.clear()
        self.flush(now)

    def _tell_last_counts(self, now: float) -> None:
        """What ended after the last window that the worker could close; its vitals are those it had last."""
        last = self._last_vitals or NO_VITALS
        counts = self.counts - (last.told or Counts())
        window = self.journal.heartbeat - (last.told_until or last.stamp)
        if counts.requests and window > 0:
            last = replace(last, stamp=self.journal.heartbeat, window=window, counts=counts)
            self._tell(last, self._end, now)
            self._end += 1

    def _last_sign(self, trail: Trail) -> int:
        stamps = [self.journal.heartbeat, trail.begin.start, trail.first_byte]
        stamps += [max(span.start, span.stop) for span in (trail.spans or {}).values()]
        if trail.stack is not None:
            stamps.append(trail.stack.stamp)
        return max(stamps)

    def flush(self, now: float) -> None:
        """Hand out everything that was read, full batch or not."""
        for lane in self.lanes:
            lane.advance(max(self.position, self._end), now, flush=True)

    def newly_delivered(self) -> dict[str, int]:
        """Requests that were delivered since this source was opened, by exporter."""
        before = self._delivered_before
        return {lane.outlet.name: lane.tally.delivered - before[lane.outlet.name] for lane in self.lanes}

    def newly_dropped(self) -> dict[str, Counter[str]]:
        """Requests that were let go since then, by exporter and reason."""
        before = self._dropped_before
        return {name: Counter(tally.dropped) - before[name] for name, tally in self._tallies.items()}

    @property
    def idle(self) -> bool:
        """Has every exporter dealt with everything that was read?"""
        return all(lane.idle for lane in self.lanes)

    # ------------------------------------------------------------ settling

    def settle(self) -> None:
        """Let the journal know how far every exporter is."""
        for lane in self.lanes:
            lane.settle()
        self.journal.settle(self.checkpoint())

    def checkpoint(self) -> Checkpoint:
        """Positions and counts that belong together, as of now."""
        lost = self.journal.lost
        for tally in self._tallies.values():
            if lost:
                tally.dropped["full"] = lost
        floor = self.position
        for lane in self.lanes:
            floor = lane.floor(floor)
        floor = self.joiner.floor(
            floor
        )  # last: there are places where it must not rest, whoever put it there
        self._tail = max(self._tail, floor)
        return Checkpoint(
            tail=self._tail,
            read=max(self.position, self._end, self._read_before),
            seen=self._seen_before + self.joiner.begun + lost,
            lost=lost,
            in_flight=self.joiner.in_flight,
            excluded=self._excluded,
            garbled=self._garbled_before + self.joiner.garbled,
            exporters=self._tallies,
            counts=self._counts,
            vitals=self._last_vitals,
            whole=max(self.position, self._whole_before),
            stepped=self.stepped,
        )

    def give_up(self) -> None:
        """Nobody will read this journal after us: what has not been delivered is lost, and counted so."""
        self.joiner.open.clear()
        self.joiner.afloat.clear()
        for lane in self.lanes:
            lane.give_up()

    def close_accounts(self) -> Checkpoint:
        """The last checkpoint of a journal that is done with: nothing in flight, nothing queued.

        What is missing in an exporter's counts was begun in memory alone and died with its worker, has been
        damaged since, or belongs to an exporter that these settings no longer have.
        """
        checkpoint = self.checkpoint()
        if self._highest > checkpoint.seen:  # requests are numbered: so many more had begun
            checkpoint.seen = min(self._highest, checkpoint.seen + self.journal.size // MINIMAL_ROOM)
        gone = "damaged" if self.joiner.gaps else "worker_died"
        configured = {lane.outlet.name for lane in self.lanes}
        for name, tally in checkpoint.exporters.items():
            tally.queued = 0
            missing = checkpoint.seen - checkpoint.excluded - checkpoint.in_flight - tally.accounted
            tally.drop(gone if name in configured else "not_configured", max(0, missing))
        return checkpoint

    def __repr__(self) -> str:
        return f"<Source {self.id} · read to {self.position} · {self.joiner.in_flight} in flight>"


def book(tally: Tally, closing: Closed) -> None:
    """Count a spool file that was dealt with."""
    tally.spooled -= closing.requests
    tally.delivered += closing.delivered
    for reason, many in closing.dropped.items():
        tally.drop(reason, many)
    tally.closed = max(tally.closed, closing.number)


def _number(trail: Trail) -> int:
    return trail.begin.number
