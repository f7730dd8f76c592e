"""What is said aloud when delivery goes wrong: once when it begins, once when it is over, never per batch.

To the server's log, and as an event in the journal, from where it reaches the local store and every backend
that can show it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from server_tracing.journal import Journal
from server_tracing.journal.ledger import Tally
from server_tracing.record import Kind, Mark

QUIET = 30.0  # seconds without a further loss after which it is over
log = logging.getLogger("server_tracing.export")


class Troubled(Protocol):
    """Whatever can be in trouble; "" while it is not."""

    name: str
    trouble: str


class Complaints:
    """Says when an exporter begins to fail, and when it works again."""

    def __init__(self, outlets: Sequence[Troubled]) -> None:
        self._outlets = outlets
        self._failing: set[str] = set()

    def __call__(self, _now: float) -> None:
        for outlet in self._outlets:
            if outlet.trouble and outlet.name not in self._failing:
                self._failing.add(outlet.name)
                log.warning("exporter %s: %s", outlet.name, outlet.trouble)
            elif not outlet.trouble and outlet.name in self._failing:
                self._failing.discard(outlet.name)
                log.warning("exporter %s works again", outlet.name)


class Losses:
    """Says when requests begin to be dropped for an exporter, and when no more are."""

    def __init__(
        self,
        journal: Journal,
        tallies: dict[str, Tally],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._journal = journal
        self._tallies = tallies
        self._clock = clock
        self._known = {name: dict(tally.dropped) for name, tally in tallies.items()}
        self._losing: dict[str, tuple[dict[str, int], float]] = {}  # what was known before; the last loss

    def __call__(self, now: float) -> None:
        for name, tally in self._tallies.items():
            if tally.dropped != self._known[name]:
                self._lost(name, tally.dropped, now)
            elif name in self._losing and now - self._losing[name][1] >= QUIET:
                before, _ = self._losing.pop(name)
                self._say("loss ended", f"{name}: {_difference(tally.dropped, before)} in all; none lately")

    def _lost(self, name: str, dropped: dict[str, int], now: float) -> None:
        known, self._known[name] = self._known[name], dict(dropped)
        if name not in self._losing:
            self._say("loss", f"{name}: {_difference(dropped, known)} so far")
        self._losing[name] = (self._losing.get(name, (known, now))[0], now)

    def _say(self, what: str, detail: str) -> None:
        log.warning("%s: %s", what, detail)
        mark = Mark(self._clock(), what, detail)
        self._journal.append(Kind.MARK, msgspec.msgpack.encode(mark))


def _difference(now: dict[str, int], before: dict[str, int]) -> str:
    """\"3 requests dropped (2 full, 1 refused)\"."""
    new = {reason: count - before.get(reason, 0) for reason, count in now.items()}
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(new.items()) if count)
    total = sum(new.values())
    return f"{total} request{'s' if total != 1 else ''} dropped ({reasons})"
