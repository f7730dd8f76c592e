"""Decisions: which requests are kept, why, and for how many each stands.

The sample comes first, in this order: what was decided when somebody asked during the request, the caller's
decision where it is believed, rules where there are some (X-Ray's central ones, or those of a file), else
`rate` of the trace ids. Whatever it says, `keeping` may keep more. Each request belongs to one population,
and a kept one says how much of it was kept:

    population                                  kept_because        sample_rate
    a class kept whole                          error, slow, ...    1
    a limited class                             as below or its own measured
    the sample by ratio of the trace id         rate                rate
    the sample by rules (a reservoir, a rate)   rule:<name>         measured, per rule
    the sample by the caller                    parent              measured

Measured means kept/seen since the last kept one (`weighing`). So the sum of 1/sample_rate over what is kept
estimates what was seen: exactly but for the newest few where it is measured, by expectation under a ratio.

There is one decision per request, not one per exporter: it goes to the services that are called, in one
header, and a trace of which each service and each backend kept another part is of no use to anybody. So where
X-Ray's rules decide, they decide for every exporter that samples; the weights tell the others what it means.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from server_tracing.config import Config
from server_tracing.propagation.context import Context
from server_tracing.record import Request
from server_tracing.sampling import rules as sampling_rules
from server_tracing.sampling.central import Central, CentralRule
from server_tracing.sampling.keeping import Rate, Verdict, class_of, classes, is_anomaly
from server_tracing.sampling.ratio import in_ratio
from server_tracing.sampling.rules import Rule, Rules
from server_tracing.sampling.weighing import Share
from server_tracing.unpatched import lock

MOST_TOLD = 100_000  # requests in flight of which something was told

log = logging.getLogger("server_tracing")


def sampler_for(config: Config, clock: Callable[[], float] = time.monotonic) -> Sampler:
    """The sampler that these settings ask for. A rules file that has become unusable since they were read
    costs its rules, not the records."""
    settings = config.sampling
    try:
        rules = sampling_rules.load(settings.rules) if settings.rules else None
    except sampling_rules.RulesError as error:
        log.warning("%s; until they can be read, requests are sampled as without them.", error)
        rules = None
    central = Central(rules or sampling_rules.built_in(), clock) if config.by_xray else None
    return Sampler(settings, clock, central or rules)


class Settings(Protocol):
    """What the [sampling] section says."""

    @property
    def rate(self) -> float: ...

    @property
    def keep_errors(self) -> bool | Rate: ...

    @property
    def keep_slower_than(self) -> float | None: ...


class Told(NamedTuple):
    """What others were told while the request ran, and the rule that said so."""

    sampled: bool
    rule: str | None = None


class Sample(NamedTuple):
    """The decision of the sample, before the outcome counts."""

    sampled: bool
    because: str
    rule: Rule | CentralRule | None
    share: Share | None  # None: the probability is known
    rate: float


class Sampler:
    """Decides for one process. Any thread may ask; everything that counts changes under `_lock`."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        rules: Rules | Central | None = None,
    ) -> None:
        self._clock = clock
        self._rules = rules
        self.central = rules if isinstance(rules, Central) else None
        self._lock = lock() if self.central is None else self.central.lock
        self._rate = rate = settings.rate
        self._by_ratio = (Sample(False, "rate", None, None, rate), Sample(True, "rate", None, None, rate))
        self._parents = Share()
        self._told: dict[int, Told] = {}  # span -> what was told of a request that runs; each step is atomic
        slow = settings.keep_slower_than
        self._slow_ms = float("inf") if slow is None else slow * 1000.0
        self._kept = classes(settings.keep_errors, slow is not None, clock())

    def propagated(
        self,
        trace_id: int,
        context: Context,
        host: str | None,
        method: str | None,
        path: str | None,
        service: str | None = None,
        span_id: int = 0,
    ) -> Told:
        """The decision to tell others while the request of this span runs: the same to all who ask. What has
        been told is handed to `decide`, when it has ended, by whoever reads it in the journal."""
        known = self._told.get(span_id)
        if known is not None:
            return known
        sample = self._sample(trace_id, context.sampled, host, method, path, service, None)
        told = Told(sample.sampled, None if sample.rule is None else sample.rule.name)
        return self._remembered(span_id, told) if span_id else told

    def _remembered(self, span_id: int, told: Told) -> Told:
        """What counts: this, or what another thread has told meanwhile."""
        if len(self._told) >= MOST_TOLD:  # of requests that were never decided on: their records were lost
            with suppress(RuntimeError, StopIteration):  # another thread was at it, too
                self._told.pop(next(iter(self._told)), None)
        return self._told.setdefault(span_id, told)

    def decide(self, request: Request, trace_id: int, told: Told | None = None) -> Request:
        """Say on a finished request whether it is kept, why, and with which weight."""
        if self._told:
            told = self._told.pop(int(request.span_id, 16), told)
        sample = self._sample(
            trace_id,
            request.parent_sampled,
            request.host,
            request.method,
            request.path,
            request.service,
            told,
        )
        kept = self._kept.get(class_of(request, self._slow_ms)) if self._kept else None
        if kept is not None:
            with self._lock:
                verdict = kept.settle(sample.sampled, sample.because, self._clock())
        else:
            verdict = self._settle(sample)
        request.sampled, request.kept_because, request.sample_rate = verdict
        rule = sample.rule
        if rule is not None:
            request.rule, request.central = rule.name, rule.central
            if rule.boosts:
                with self._lock:
                    rule.finish(sample.sampled, is_anomaly(request))
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
        service: str | None,
        told: Told | None,
    ) -> Sample:
        """What was told decides if anything was; who would have decided says what it is worth."""
        if parent is not None:
            return Sample(parent if told is None else told.sampled, "parent", None, self._parents, 1.0)
        if self._rules is not None:
            if told is not None and told.rule is not None:
                known = self._rules.named(told.rule)
                rule = known or sampling_rules.gone(told.rule, central=self.central is not None)
            else:
                rule = self._rules.find(host, method, path, service)
            sampled = self._drawn(rule, trace_id) if told is None else told.sampled
            return Sample(sampled, rule.because, rule, rule.share, 1.0)
        natural = in_ratio(trace_id, self._rate)
        if told is None or told.sampled is natural:
            return self._by_ratio[natural]
        return Sample(told.sampled, "rate", None, None, 1.0)  # under another rate, by a worker now dead

    def _drawn(self, rule: Rule | CentralRule, trace_id: int) -> bool:
        with self._lock:
            return rule.draw(self._clock(), trace_id)

    def __repr__(self) -> str:
        by = repr(self._rules) if self._rules else f"rate {self._rate:g}"
        return f"<Sampler {by} · keeps {', '.join(self._kept) or 'nothing else'}>"
