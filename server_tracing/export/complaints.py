"""What is said aloud when delivery goes wrong: once when it begins, once when it is over, never per batch.

To the server's log; and losses also as events in the journal, from where they reach the local store and every
backend that can show them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from server_tracing.journal import Journal
from server_tracing.record import Kind, Mark

CALM = 10.0  # seconds without trouble after which an exporter works again: one that comes and goes is no news
QUIET = 30.0  # seconds without a further loss after which it is over
Dropped = Mapping[str, Mapping[str, int]]  # requests, by exporter and reason
log = logging.getLogger("server_tracing.export")


class Troubled(Protocol):
    """Whatever can be in trouble; "" while it is not."""

    name: str
    trouble: str


class Complaints:
    """Says when an exporter begins to fail, and when it has worked again for a while."""

    def __init__(self, outlets: Sequence[Troubled]) -> None:
        self._outlets = outlets
        self._failing: dict[str, float] = {}  # since when it is in no trouble, as far as we have seen

    def __call__(self, now: float) -> None:
        for outlet in self._outlets:
            if outlet.trouble:
                if outlet.name not in self._failing:
                    log.warning("exporter %s: %s", outlet.name, outlet.trouble)
                self._failing[outlet.name] = now
            elif outlet.name in self._failing and now - self._failing[outlet.name] >= CALM:
                del self._failing[outlet.name]
                log.warning("exporter %s works again", outlet.name)


class Losses:
    """Says when requests begin to be dropped for an exporter, and when no more are: also requests of dead
    workers whose journals this one reads."""

    def __init__(
        self,
        journal: Journal,
        dropped: Callable[[], Dropped],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._journal = journal
        self._dropped = dropped
        self._clock = clock
        self._known: dict[str, dict[str, int]] = {}
        self._losing: dict[str, tuple[dict[str, int], float]] = {}  # what was known before; the last loss
        self._unwritten: list[bytes] = []  # marks for which the journal had no room yet

    def __call__(self, now: float) -> None:
        for name, dropped in self._dropped().items():
            if dropped != self._known.get(name, {}):
                self._lost(name, dropped, now)
            elif name in self._losing and now - self._losing[name][1] >= QUIET:
                self._over(name, "none lately")
        self._write()

    def finish(self, now: float) -> None:
        """The worker ends, and every loss that goes on with it."""
        self(now)
        for name in list(self._losing):
            self._over(name, "the worker ends")
        self._write()

    def _lost(self, name: str, dropped: Mapping[str, int], now: float) -> None:
        known = self._known.get(name, {})
        self._known[name] = dict(dropped)
        if name not in self._losing:
            self._say("loss", f"{name}: {_difference(dropped, known)} so far")
        self._losing[name] = (self._losing.get(name, (known, now))[0], now)

    def _over(self, name: str, why: str) -> None:
        before, _ = self._losing.pop(name)
        self._say("loss ended", f"{name}: {_difference(self._known[name], before)} in all; {why}")

    def _say(self, what: str, detail: str) -> None:
        log.warning("tracing, worker %d: %s: %s", self._journal.origin.pid, what, detail)
        self._unwritten.append(msgspec.msgpack.encode(Mark(self._clock(), what, detail)))

    def _write(self) -> None:
        """A loss is often that the journal is full: what does not fit now has its turn when there is room."""
        while self._unwritten and self._journal.append(Kind.MARK, self._unwritten[0]):
            del self._unwritten[0]


def _difference(now: Mapping[str, int], before: Mapping[str, int]) -> str:
    """\"3 requests dropped (2 full, 1 refused)\"."""
    new = {reason: count - before.get(reason, 0) for reason, count in now.items()}
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(new.items()) if count)
    total = sum(new.values())
    return f"{total} request{'s' if total != 1 else ''} dropped ({reasons})"
