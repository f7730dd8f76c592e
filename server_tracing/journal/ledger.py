"""What became of every request, exporter by exporter: the counts behind the accounting identity.

    seen = excluded + in_flight + unsampled[e] + delivered[e] + dropped[e][reason] + pending[e]

The reader of a journal keeps one Checkpoint beside it. It is written as a whole, so that a worker that
dies leaves counts and positions that belong together, and whoever adopts the journal counts on from there.
"""

from __future__ import annotations

from msgspec import Struct, field

from server_tracing.record import Counts, Vitals


class Tally(Struct):
    """One exporter's counts, for requests whose end stands before `acked`."""

    acked: int = 0
    delivered: int = 0
    unsampled: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    queued: int = 0  # ended and read, not yet acknowledged: pending, still in the journal
    spooled: int = 0  # on disk for this exporter: out of the journal, still pending. Summed over all workers
    # it is exact; one worker's may be negative, because any worker may deliver what another one spooled
    closed: int = 0  # how many spool files this worker has accounted for as delivered or dropped

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what was let go, and why."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    @property
    def pending(self) -> int:
        """What still has to reach this exporter."""
        return self.queued + self.spooled

    @property
    def accounted(self) -> int:
        """Every ended, not excluded request, wherever it is now."""
        return self.delivered + self.unsampled + sum(self.dropped.values()) + self.pending


class Checkpoint(Struct):
    """How far a journal has been read, and what was counted up to there."""

    tail: int = 0  # everything before is settled with every exporter
    read: int = 0  # the counts below hold for the frames before this position, and `tail` is not beyond it
    seen: int = 0  # requests begun
    lost: int = 0  # of these, let go whole because the ring was full; `dropped["full"]` of every exporter
    in_flight: int = 0
    excluded: int = 0
    garbled: int = 0  # frames that could not be understood
    exporters: dict[str, Tally] = field(default_factory=dict)
    counts: Counts | None = None  # of requests, for those who tell of counts over time
    vitals: Vitals | None = None  # the worker's last: the ring may have passed over their frame
    stepped: int = 0  # nanoseconds by which the wall clock was set since the worker started
    whole: int = 0  # frames were found up to here: who finds fewer reads a journal that was damaged since

    def tally(self, exporter: str) -> Tally:
        """The counts of one exporter, begun when first asked for."""
        return self.exporters.setdefault(exporter, Tally())
