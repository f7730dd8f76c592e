"""X-Ray's two calls for sampling, GetSamplingRules and GetSamplingTargets, and what they say.

https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sampling.html and botocore's model of the service,
which has boosts (2016-04-12, of botocore 1.40.60 and later). Who carries a call is a `Caller`: the daemon
(daemon_call.py), which signs what it passes on, or botocore itself (signed_call.py).

Times of the service are those of its clock, which each reply tells in its Date: so a machine whose clock is
wrong still knows how long a quota holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Struct, field

from server_tracing.sampling.terms import Boost, Definition, Report, Target

MOST_DOCUMENTS = 25  # of either kind in one call
MOST_PAGES = 100
LONGEST_SERVICE = 64
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Moment = float | datetime | None  # of epoch seconds JSON makes the first, botocore the second


class ControlPlaneError(Exception):
    """A call came to nothing; `str()` says what was said, in one sentence without its end."""


class Reply(NamedTuple):
    """What came back, and the service's clock, if it was told."""

    content: Mapping[str, Any]
    at: float | None


class Caller(Protocol):
    """Carries calls to the service."""

    place: str  # for people

    def call(self, operation: str, parameters: Mapping[str, Any]) -> Reply:
        """One call, answered, or a `ControlPlaneError`."""


class _RuleRecord(Struct):
    rule: Definition = field(name="SamplingRule")


class _RulesReply(Struct):
    records: list[Any] | None = field(name="SamplingRuleRecords", default=None)
    next: str | None = field(name="NextToken", default=None)


class _Boost(Struct):
    rate: float = field(name="BoostRate")
    until: Moment = field(name="BoostRateTTL")


class _Target(Struct):
    name: str = field(name="RuleName")
    rate: float | None = field(name="FixedRate", default=None)
    quota: int | None = field(name="ReservoirQuota", default=None)
    quota_until: Moment = field(name="ReservoirQuotaTTL", default=None)
    interval: float | None = field(name="Interval", default=None)
    boost: _Boost | None = field(name="SamplingBoost", default=None)


class Unprocessed(Struct):
    """Statistics the service did not take, and why."""

    name: str | None = field(name="RuleName", default=None)
    code: str | None = field(name="ErrorCode", default=None)
    message: str | None = field(name="Message", default=None)

    @property
    def passing(self) -> bool:
        """Whether it may take them another time."""
        code = self.code or ""
        return code.startswith("5") or code == "429" or "Throttl" in code or "Internal" in code

    def __str__(self) -> str:
        return f"{self.name}: {' '.join(filter(None, (self.code, self.message))) or 'no reason given'}"


class _TargetsReply(Struct):
    targets: list[Any] | None = field(name="SamplingTargetDocuments", default=None)
    modified: Moment = field(name="LastRuleModification", default=None)
    unprocessed: list[Any] | None = field(name="UnprocessedStatistics", default=None)
    unprocessed_boosts: list[Any] | None = field(name="UnprocessedBoostStatistics", default=None)


class Fetched(NamedTuple):
    """The rules of the service, how many records were none, and its clock."""

    definitions: Sequence[Definition]
    unreadable: int
    at: float | None


class Granted(NamedTuple):
    """What one call for targets came to."""

    targets: Sequence[Target]
    unprocessed: Sequence[Unprocessed]
    unprocessed_boosts: Sequence[Unprocessed]
    modified: float | None  # when somebody changed a rule last, by the service's clock


class ControlPlane:
    """The two calls. `clock` is the monotonic one that targets are understood by, `wall` the epoch's."""

    def __init__(
        self, caller: Caller, service: str, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self.place = caller.place
        self._caller = caller
        self._service = service[:LONGEST_SERVICE]
        self._clock = clock
        self._wall = wall

    def rules(self) -> Fetched:
        """Every rule, from as many pages as there are."""
        definitions: list[Definition] = []
        unreadable, token, at = 0, None, None
        for _ in range(MOST_PAGES):
            reply = self._caller.call("GetSamplingRules", {"NextToken": token} if token else {})
            page = _understood(reply, _RulesReply)
            at = at or reply.at
            records = _each(page.records, _RuleRecord)
            definitions += [record.rule for record in records]
            unreadable += len(page.records or ()) - len(records)
            token = page.next
            if not token:
                break
        return Fetched(definitions, unreadable, at)

    def targets(self, reports: Sequence[Report], client_id: str) -> Granted:
        """Report these statistics, `MOST_DOCUMENTS` of them at most, and be told what may be taken."""
        now = int(self._wall())
        parameters: dict[str, Any] = {
            "SamplingStatisticsDocuments": [_statistics(one, client_id, now) for one in reports]
        }
        boosts = [self._boost_statistics(one, now) for one in reports if one.boosts and one.counts.finished]
        if boosts:
            parameters["SamplingBoostStatisticsDocuments"] = boosts
        reply = self._caller.call("GetSamplingTargets", parameters)
        said = _understood(reply, _TargetsReply)
        ahead = self._clock() - (self._wall() if reply.at is None else reply.at)
        return Granted(
            [_target(target, ahead) for target in _each(said.targets, _Target)],
            _each(said.unprocessed, Unprocessed),
            _each(said.unprocessed_boosts, Unprocessed),
            _epoch(said.modified),
        )

    def _boost_statistics(self, report: Report, now: int) -> dict[str, Any]:
        return {
            "RuleName": report.name,
            "ServiceName": self._service,
            "Timestamp": now,
            "AnomalyCount": report.counts.anomalies,
            "TotalCount": report.counts.finished,
            "SampledAnomalyCount": report.counts.sampled_anomalies,
        }

    def __repr__(self) -> str:
        return f"<ControlPlane at {self.place}>"


def in_calls(reports: Iterable[Report]) -> Iterator[list[Report]]:
    """As many in each as one call takes."""
    left = iter(reports)
    while some := list(islice(left, MOST_DOCUMENTS)):
        yield some


def http_date(text: str) -> float | None:
    """The Date of a reply (RFC 9110, 5.6.7) as epoch seconds. By hand: `strptime` reads the names of months
    in whatever language the application has set."""
    try:
        _, day, month, year, clock, _ = text.split()
        hour, minute, second = map(int, clock.split(":"))
        when = datetime(int(year), MONTHS.index(month) + 1, int(day), hour, minute, second, 0, timezone.utc)
    except ValueError:
        return None
    return when.timestamp()


def _statistics(report: Report, client_id: str, now: int) -> dict[str, Any]:
    return {
        "RuleName": report.name,
        "ClientID": client_id,
        "Timestamp": now,
        "RequestCount": report.counts.requests,
        "SampledCount": report.counts.sampled,
        "BorrowCount": report.counts.borrowed,
    }


def _target(said: _Target, ahead: float) -> Target:
    until = _epoch(said.quota_until)
    return Target(
        name=said.name,
        rate=said.rate,
        quota=said.quota,
        quota_until=None if until is None else until + ahead,
        interval=said.interval,
        boost=None if said.boost is None else _boost(said.boost, ahead),
    )


def _boost(said: _Boost, ahead: float) -> Boost:
    return Boost(said.rate, (_epoch(said.until) or 0.0) + ahead)


def _epoch(moment: Moment) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime) else moment


Said = TypeVar("Said", bound=Struct)


def _understood(reply: Reply, kind: type[Said]) -> Said:
    try:
        return msgspec.convert(reply.content, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ControlPlaneError(f"the reply makes no sense: {error}") from None


def _each(items: Sequence[Any] | None, kind: type[Said]) -> list[Said]:
    """Those that make sense: one that does not costs itself."""
    understood = []
    for item in items or ():
        with suppress(msgspec.ValidationError):
            understood.append(msgspec.convert(item, kind, strict=False))
    return understood
