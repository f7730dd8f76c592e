"""What X-Ray's service says of its sampling rules, and what a process tells it: one struct for each thing.

Names on the wire are those of the API: https://docs.aws.amazon.com/xray/latest/api/API_SamplingRule.html
"""

from __future__ import annotations

from msgspec import Struct, field


class RateBoost(Struct, frozen=True):
    """That the service may raise a rule's rate for a while, when many requests go wrong."""

    max_rate: float = field(name="MaxRate", default=1.0)
    cooldown: int = field(name="CooldownWindowMinutes", default=0)


class Definition(Struct, frozen=True, kw_only=True):
    """A rule as the service writes it (SamplingRule of the API)."""

    name: str = field(name="RuleName")
    priority: int = field(name="Priority")
    rate: float = field(name="FixedRate")
    reservoir: int = field(name="ReservoirSize")
    service: str = field(name="ServiceName")
    service_type: str = field(name="ServiceType")
    host: str = field(name="Host")
    method: str = field(name="HTTPMethod")
    path: str = field(name="URLPath")
    resource: str = field(name="ResourceARN")
    version: int = field(name="Version")
    attributes: dict[str, str] | None = field(name="Attributes", default=None)
    boost: RateBoost | None = field(name="SamplingRateBoost", default=None)

    @property
    def applicable(self) -> bool:
        """Whether it asks for nothing but what is known of a request here, as in the SDK."""
        return self.version == 1 and self.resource == "*" and bool(self.service_type) and not self.attributes


class Boost(Struct, frozen=True):
    """A raised rate, and until when it holds."""

    rate: float
    until: float


class Target(Struct, frozen=True, kw_only=True):
    """What the service grants this process of one rule; None: as before. Times are this process's clock's."""

    name: str
    rate: float | None = None
    quota: int | None = None
    quota_until: float | None = None
    interval: float | None = None
    boost: Boost | None = None


class Counts(Struct):
    """What became of the requests of one rule since the last report."""

    requests: int = 0
    borrowed: int = 0
    sampled: int = 0  # without the borrowed ones, as every X-Ray SDK counts
    finished: int = 0  # of a rule that may be boosted, when the outcome is known
    anomalies: int = 0
    sampled_anomalies: int = 0

    def add(self, other: Counts) -> None:
        """Both together."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Report(Struct, frozen=True):
    """The statistics of one rule, on their way to the service."""

    name: str
    counts: Counts
    boosts: bool
