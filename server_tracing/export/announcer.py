"""What takes long is announced, to the exporters that show such: a chore of the reader.

The end of a request, however it ends, comes under the same ids and stands for itself; so an announcement is
in no account, waits on no disk, and is made once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from server_tracing.propagation.context import Context
from server_tracing.record import End, Kind, Outcome, Request, Running
from server_tracing.sampling import Sampler

from .pace import Pace
from .shape import Shaper
from .source import Source
from .trail import Trail

AFTER = 5.0  # seconds; what is over sooner is not worth being told of twice
OFTEN = 1.0
_encode = msgspec.msgpack.Encoder().encode


class Announcer:
    """Looks every so often at what has been open for long."""

    def __init__(
        self,
        source: Source,
        shaper: Shaper,
        sampler: Sampler,
        pace: Pace,
        *,
        after: float = AFTER,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._source = source
        self._shaper = shaper
        self._sampler = sampler
        self._pace = pace
        self._after = int(after * 1e9)
        self._clock = clock
        self._lanes = [lane for lane in source.lanes if lane.outlet.traits.running]
        self._next = 0.0

    def __call__(self, now: float) -> None:
        if not self._lanes or now < self._next:
            return
        self._next = now + OFTEN
        stamp = self._clock()
        self._shaper.set_clock(self._source.stepped)
        for trail in self._long(stamp - self._after):
            trail.announced = True
            self._announce(trail, stamp, now)
            self._pace.breathe()

    def _long(self, before: int) -> list[Trail]:
        """What began before then and was not announced."""
        joiner = self._source.joiner
        return [
            trail
            for trails in (joiner.open.values(), joiner.afloat.values())
            for trail in trails
            if trail.begin.start < before and not trail.announced
        ]

    def _announce(self, trail: Trail, stamp: int, now: float) -> None:
        trail.end = End(trail.begin.number, stamp, Outcome.RUNNING, trail.status)
        try:
            request = self._shaper.request(trail)
        except Exception:  # noqa: BLE001 - its end will tell, and be counted if it cannot
            return
        finally:
            trail.end = None
        if request is not None and self._in_sample(request, trail):
            position = self._source.position
            for lane in self._lanes:
                lane.take(Running(request), position, position, now)

    def _in_sample(self, request: Request, trail: Trail) -> bool:
        """What was told of it; where nobody has asked yet, what everybody is told from now on."""
        told = trail.told
        if told is None:
            told = self._sampler.propagated(
                int(request.trace_id, 16),
                Context(sampled=request.parent_sampled),
                request.host,
                request.method,
                request.path,
                request.service,
                int(request.span_id, 16),
            )
            note = (trail.begin.number, "sampled", "", told, "")
            self._source.journal.append(Kind.NOTE, _encode(note))
        return told.sampled

    def __repr__(self) -> str:
        return f"<Announcer after {self._after / 1e9:g} s to {len(self._lanes)} exporters>"
