"""X-Ray's central rules as one process applies them: which rule decides, what it may take, what it reports.

Whoever talks to the service (export/xray/central.py) hands in rules and targets and takes statistics out;
nothing here waits. The rules in force are one immutable list, replaced whole: a request that is being decided
keeps the list it began with, and what has been taken and counted stands in a `Standing` that both lists share
(the X-Ray SDK moves it from rule to rule, and a request in between fails on None).

While there are no rules, and when they have not been refreshed for an hour, the local ones decide, as in the
SDK. So do they for a request that none of the central rules matches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from server_tracing.sampling.ratio import in_ratio
from server_tracing.sampling.rules import Rule, Rules, matcher
from server_tracing.sampling.terms import Boost, Counts, Definition, Report, Target
from server_tracing.sampling.weighing import Share
from server_tracing.unpatched import lock

TTL = 3600.0  # seconds that rules are good for after they were fetched
REPORT_EVERY = 10.0  # seconds, where the service asks for nothing else
DEFAULT = "Default"  # the name of the rule that matches whatever no other does

TAKEN, BORROWED, NONE = "taken", "borrowed", "none"


class Standing:
    """Where this process stands with one rule, in whichever list that is. Changes under `Central.lock`."""

    __slots__ = (
        "boost", "borrowed", "counts", "due", "interval", "quota", "quota_until", "second", "share", "taken",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.quota: int | None = None
        self.quota_until = 0.0
        self.boost: Boost | None = None
        self.second, self.taken, self.borrowed = -1, 0, 0
        self.interval, self.due = REPORT_EVERY, now + REPORT_EVERY
        self.counts = Counts()
        self.share = Share()

    def grant(self, now: float, may_borrow: bool) -> str:
        """One request of this second: out of the quota while it holds, else one borrowed, if any."""
        if int(now) != self.second:
            self.second, self.taken, self.borrowed = int(now), 0, 0
        if self.quota is not None and now <= self.quota_until:
            if self.taken < self.quota:
                self.taken += 1
                return TAKEN
        elif may_borrow and not self.borrowed:
            self.borrowed = 1
            return BORROWED
        return NONE


class CentralRule:
    """One rule of one list. All but `rate`, which targets change, stays as it is."""

    central = True

    __slots__ = (
        "_host", "_may_borrow", "_method", "_path", "_service", "because", "boosts", "name", "rate", "share",
        "standing",
    )  # fmt: skip

    def __init__(self, definition: Definition, standing: Standing) -> None:
        self.name, self.because = definition.name, f"rule:{definition.name}"
        self.rate = definition.rate
        self.boosts = definition.boost is not None
        self.standing, self.share = standing, standing.share
        self._may_borrow = definition.reservoir > 0
        patterns = (definition.service, definition.host, definition.method, definition.path)
        self._service, self._host, self._method, self._path = (
            None if self.name == DEFAULT else matcher(pattern) for pattern in patterns
        )

    def matches(self, host: str | None, method: str | None, path: str | None, service: str | None) -> bool:
        """Whether a request falls under this rule; what it does not tell matches every pattern."""
        return (
            (not path or self._path is None or self._path(path))
            and (not method or self._method is None or self._method(method))
            and (not host or self._host is None or self._host(host))
            and (not service or self._service is None or self._service(service))
        )

    def draw(self, now: float, trace_id: int) -> bool:
        """Decide on one request, and count it."""
        standing = self.standing
        counts = standing.counts
        counts.requests += 1
        granted = standing.grant(now, self._may_borrow)
        if granted is BORROWED:
            counts.borrowed += 1
            return True
        if granted is TAKEN or in_ratio(trace_id, self._rate_at(now)):
            counts.sampled += 1
            return True
        return False

    def _rate_at(self, now: float) -> float:
        boost = self.standing.boost
        return self.rate if boost is None or now > boost.until else max(self.rate, boost.rate)

    def finish(self, sampled: bool, anomaly: bool) -> None:
        """Count what became of a request: the service boosts rates where anomalies go unseen."""
        counts = self.standing.counts
        counts.finished += 1
        counts.anomalies += anomaly
        counts.sampled_anomalies += anomaly and sampled

    def __repr__(self) -> str:
        return f"<CentralRule {self.name} · {self.standing.counts.requests} requests to report>"


class InForce(Struct, frozen=True):
    """The rules as of one refresh, in the order in which they are asked."""

    rules: tuple[CentralRule, ...] = ()
    until: float = float("-inf")


class Central:
    """The rules of the service, in front of the local ones. Any thread may ask; one alone changes them.

    Shared: `_in_force` is replaced, never changed; what hangs on its rules changes under `lock`.
    """

    def __init__(self, local: Rules, clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = lock()
        self.clock = clock
        self.local = local
        self._in_force = InForce()
        self._definitions: Sequence[Definition] = ()
        self._fetched = float("-inf")
        self._origin: str | None = None

    # ------------------------------------------------------------ deciding

    def find(
        self, host: str | None, method: str | None, path: str | None, service: str | None = None
    ) -> Rule | CentralRule:
        """The rule a request falls under."""
        in_force = self._in_force
        if self.clock() <= in_force.until:
            for rule in in_force.rules:
                if rule.matches(host, method, path, service):
                    return rule
        return self.local.find(host, method, path)

    def named(self, name: str) -> Rule | CentralRule | None:
        """The rule of this name, if it is still there."""
        found = next((rule for rule in self._in_force.rules if rule.name == name), None)
        return found or self.local.named(name)

    # ------------------------------------------------------------ what the service says

    @property
    def fresh(self) -> bool:
        """Whether the service's rules are in force."""
        return self.clock() <= self._in_force.until

    def load(self, definitions: Iterable[Definition]) -> None:
        """Put these rules in force; what cannot be applied is left out."""
        self._definitions = sorted(
            (definition for definition in definitions if definition.applicable),
            key=lambda definition: (definition.priority, definition.name),
        )
        self._fetched = self.clock()
        self._put_in_force()

    def origin_is(self, origin: str | None) -> None:
        """Where this service runs, such as AWS::ECS::Container: rules for other places are not ours."""
        if origin != self._origin:
            self._origin = origin
            self._put_in_force()

    def _put_in_force(self) -> None:
        """No lock: patterns take their time to be made ready, and to replace a list takes one step."""
        standings = {rule.name: rule.standing for rule in self._in_force.rules}
        rules = tuple(
            CentralRule(definition, standings.get(definition.name) or Standing(self.clock()))
            for definition in self._definitions
            if self._is_ours(definition)
        )
        self._in_force = InForce(rules, self._fetched + TTL)

    def _is_ours(self, definition: Definition) -> bool:
        matches = matcher(definition.service_type)
        return not self._origin or matches is None or definition.name == DEFAULT or matches(self._origin)

    def grant(self, targets: Iterable[Target]) -> None:
        """Let this process take what the service says."""
        given = {target.name: target for target in targets}
        with self.lock:
            for rule in self._in_force.rules:
                if rule.name in given:
                    _grant(rule, given[rule.name])

    # ------------------------------------------------------------ what the service is told

    def reports(self, *, last: bool = False) -> list[Report]:
        """The statistics that are due, or all at the `last`, taken out: `restore` what was not delivered."""
        now = self.clock()
        with self.lock:
            return [_taken(rule, now) for rule in self._in_force.rules if _is_due(rule.standing, now, last)]

    def restore(self, reports: Iterable[Report]) -> None:
        """Put back what the service did not get; rules that are gone have nobody to report to."""
        with self.lock:
            standings = {rule.name: rule.standing for rule in self._in_force.rules}
            for report in reports:
                if report.name in standings:
                    standings[report.name].counts.add(report.counts)

    def __repr__(self) -> str:
        rules = len(self._in_force.rules)
        return f"<Central {rules} rules in force>" if self.fresh else f"<Central, {self.local!r} in force>"


def _grant(rule: CentralRule, target: Target) -> None:
    standing = rule.standing
    rule.rate = rule.rate if target.rate is None else target.rate
    standing.quota = standing.quota if target.quota is None else target.quota
    standing.quota_until = standing.quota_until if target.quota_until is None else target.quota_until
    standing.boost = target.boost
    if target.interval is not None:
        standing.due += target.interval - standing.interval
        standing.interval = target.interval


def _is_due(standing: Standing, now: float, last: bool) -> bool:
    return (last or now >= standing.due) and bool(standing.counts.requests or standing.counts.finished)


def _taken(rule: CentralRule, now: float) -> Report:
    standing = rule.standing
    report = Report(rule.name, standing.counts, rule.boosts)
    standing.counts = Counts()
    standing.due = now + standing.interval
    return report
