"""Decisions: which requests are kept, why, and for how many each stands.

The sample comes first, in this order: what was decided when somebody asked during the request, the caller's
decision where it is believed, X-Ray's rules if a file is set, else `rate` of the trace ids. Whatever it says,
`keeping` may keep more. Each request belongs to one population, and a kept one says how much of it was kept:

    population                                  kept_because        sample_rate
    a class kept whole                          error, slow, ...    1
    a limited class                             as below or its own measured
    the sample by ratio of the trace id         rate                rate
    the sample by rules (a reservoir, a rate)   rule:<name>         measured, per rule
    the sample by the caller                    parent              measured

Measured means kept/seen since the last kept one (`weighing`). So the sum of 1/sample_rate over what is kept
estimates what was seen: exactly but for the newest few where it is measured, by expectation under a ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from server_tracing.propagation.context import Context
from server_tracing.record import Request
from server_tracing.sampling import rules as sampling_rules
from server_tracing.sampling.keeping import Rate, Verdict, class_of, classes
from server_tracing.sampling.rules import Rule
from server_tracing.sampling.weighing import Share
from server_tracing.unpatched import lock

LOW_64 = 0xFFFFFFFFFFFFFFFF


class Settings(Protocol):
    """What the [sampling] section says."""

    @property
    def rate(self) -> float: ...

    @property
    def rules(self) -> str | None: ...

    @property
    def keep_errors(self) -> bool | Rate: ...

    @property
    def keep_slower_than(self) -> float | None: ...


class Sample(NamedTuple):
    """The decision of the sample, before the outcome counts."""

    sampled: bool
    because: str
    rule: str | None
    share: Share | None  # None: the probability is known
    rate: float


def in_ratio(trace_id: int, rate: float) -> bool:
    """OpenCensus' arithmetic, so that all services agree on a trace; a rate of 0 is none at all."""
    return rate > 0.0 and trace_id & LOW_64 <= rate * LOW_64


class Sampler:
    """Decides for one process. Any thread may ask; everything that counts changes under `_lock`."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = lock()
        self._rate = settings.rate
        self._rules = sampling_rules.load(settings.rules) if settings.rules else None
        self._parents = Share()
        slow = settings.keep_slower_than
        self._slow_ms = float("inf") if slow is None else slow * 1000.0
        self._kept = classes(settings.keep_errors, slow is not None, clock())

    def propagated(
        self, trace_id: int, context: Context, host: str | None, method: str | None, path: str | None
    ) -> bool:
        """The decision to tell others while the request runs; hand it to `decide` when it has ended."""
        return self._sample(trace_id, context.sampled, host, method, path, None).sampled

    def decide(self, request: Request, trace_id: int, propagated: bool | None = None) -> Request:
        """Say on a finished request whether it is kept, why, and with which weight."""
        sample = self._sample(
            trace_id, request.parent_sampled, request.host, request.method, request.path, propagated
        )
        kept = self._kept.get(class_of(request, self._slow_ms)) if self._kept else None
        if kept is not None:
            with self._lock:
                verdict = kept.settle(sample.sampled, sample.because, self._clock())
        else:
            verdict = self._settle(sample)
        request.sampled, request.kept_because, request.sample_rate = verdict
        request.rule = sample.rule
        return request

    def _settle(self, sample: Sample) -> Verdict:
        """Keep what is in the sample and nothing else."""
        sampled, because, _, share, rate = sample
        if share is not None:
            with self._lock:
                rate = share.settle(sampled)
        return (True, because, rate) if sampled else (False, None, 1.0)

    def _sample(
        self,
        trace_id: int,
        parent: bool | None,
        host: str | None,
        method: str | None,
        path: str | None,
        propagated: bool | None,
    ) -> Sample:
        """`propagated` decides if there is one; who would have decided says what it is worth."""
        if parent is not None:
            return Sample(parent if propagated is None else propagated, "parent", None, self._parents, 1.0)
        if self._rules is not None:
            rule = self._rules.find(host, method, path)
            sampled = self._drawn(rule, trace_id) if propagated is None else propagated
            return Sample(sampled, rule.because, rule.name, rule.share, 1.0)
        natural = in_ratio(trace_id, self._rate)
        if propagated is None or propagated is natural:
            return Sample(natural, "rate", None, None, self._rate)
        return Sample(propagated, "rate", None, None, 1.0)  # decided under another rate, by a worker now dead

    def _drawn(self, rule: Rule, trace_id: int) -> bool:
        with self._lock:
            return rule.take(int(self._clock())) or in_ratio(trace_id, rule.rate)

    def __repr__(self) -> str:
        by = repr(self._rules) if self._rules else f"rate {self._rate:g}"
        return f"<Sampler {by} · keeps {', '.join(self._kept) or 'nothing else'}>"
