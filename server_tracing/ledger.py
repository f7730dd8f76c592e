"""What became of every request, exporter by exporter: the counts behind the accounting identity.

    seen = excluded + in_flight + unsampled[e] + delivered[e] + dropped[e][reason] + pending[e]

The reader of a journal keeps one Checkpoint beside it. It is written as a whole, so that a worker that
dies leaves counts and positions that belong together, and whoever adopts the journal counts on from there.
"""

from __future__ import annotations

from msgspec import Struct, field


class Tally(Struct):
    """One exporter's counts, for requests whose end stands before `acked`."""

    acked: int = 0
    delivered: int = 0
    unsampled: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    spooled: int = 0  # on disk for this exporter: out of the journal, still pending

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what was let go, and why."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count


class Checkpoint(Struct):
    """How far a journal has been read, and what was counted up to there."""

    tail: int = 0  # everything before is settled with every exporter
    seen: int = 0  # requests begun before `tail`
    excluded: int = 0
    garbled: int = 0  # frames that could not be understood
    exporters: dict[str, Tally] = field(default_factory=dict)

    def tally(self, exporter: str) -> Tally:
        """The counts of one exporter, begun when first asked for."""
        return self.exporters.setdefault(exporter, Tally())
