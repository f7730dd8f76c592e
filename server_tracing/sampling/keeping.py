"""Which requests are kept whatever the sample says: failed, killed, refused and slow ones.

Each of these is a class of its own with a limit of its own: anybody can send requests that are refused, and a
flood of them must not use up what is meant for a killed worker's. A class without a limit is kept whole, and
all of it weighs 1, also what the sample would have kept; in a limited one every kept request stands for the
others (`weighing.Share`), whether the sample or the limit kept it. What the sample keeps costs no token.
"""

from __future__ import annotations

from typing import Protocol

from server_tracing.record import Request
from server_tracing.sampling.weighing import Bucket, Share


class Rate(Protocol):
    """So many per so many seconds, as the settings say it."""

    @property
    def count(self) -> float: ...

    @property
    def per_seconds(self) -> float: ...


Verdict = tuple[bool, "str | None", float]  # kept, because of, with which sample rate

_FAILED = frozenset({"error", "killed", "rejected"})
_ENDLESS = frozenset({"ws", "wss"})


def class_of(request: Request, slow_ms: float) -> str:
    """error, killed, rejected, slow or "": what stays open on purpose is never slow."""
    if request.outcome in _FAILED:
        return request.outcome
    if request.status is not None and request.status >= 500:
        return "error"
    if request.duration_ms > slow_ms and not request.event_stream and request.scheme not in _ENDLESS:
        return "slow"
    return ""


def is_anomaly(request: Request) -> bool:
    """Whether X-Ray counts it as one: a status of 5xx, or a failure without any."""
    if request.status is not None:
        return request.status >= 500
    return request.outcome in ("error", "killed")


class Whole:
    """A class of which everything is kept."""

    __slots__ = ("_verdict",)

    def __init__(self, because: str) -> None:
        self._verdict: Verdict = (True, because, 1.0)

    def settle(self, sampled: bool, because: str, now: float) -> Verdict:
        """Keep it."""
        return self._verdict


class Limited:
    """A class of which so many are kept, beside those in the sample."""

    __slots__ = ("_because", "_bucket", "_share")

    def __init__(self, because: str, rate: Rate, now: float) -> None:
        self._because = because
        self._bucket = Bucket(rate.count, rate.per_seconds, now)
        self._share = Share()

    def settle(self, sampled: bool, because: str, now: float) -> Verdict:
        """Keep what is in the sample, and others while the limit lasts."""
        kept = sampled or self._bucket.take(now)
        rate = self._share.settle(kept)
        return kept, (because if sampled else self._because) if kept else None, rate


def classes(keep_errors: bool | Rate, slow: bool, now: float) -> dict[str, Whole | Limited]:
    """The classes these settings keep; slow ones are limited as errors are, whole where those are not."""
    names = sorted(_FAILED) if keep_errors is not False else []
    names += ["slow"] if slow else []
    if isinstance(keep_errors, bool):
        return {name: Whole(name) for name in names}
    return {name: Limited(name, keep_errors, now) for name in names}
