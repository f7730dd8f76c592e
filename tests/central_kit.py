"""Central rules in miniature: definitions as the service writes them, requests, a clock moved by hand."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import msgspec

from server_tracing.record import Request
from server_tracing.sampling import Sampler
from server_tracing.sampling.central import Central
from server_tracing.sampling.rules import parse
from server_tracing.sampling.terms import Counts, Definition

IN, OUT = 1, 2**64 - 1  # low halves of a trace id that every and no ratio below 1 keeps
ANYTHING = {
    "ServiceName": "*", "ServiceType": "*", "Host": "*", "HTTPMethod": "*", "URLPath": "*",
    "ResourceARN": "*", "Version": 1,
}  # fmt: skip
NOTHING_KEPT = parse(b'{"version": 2, "default": {"fixed_target": 0, "rate": 0}}')


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def rule(
    name: str = "shop", priority: int = 100, rate: float = 0.0, reservoir: int = 0, **said: Any
) -> Definition:
    """A rule as it comes over the wire."""
    wire = {"RuleName": name, "Priority": priority, "FixedRate": rate, "ReservoirSize": reservoir}
    return msgspec.convert({**ANYTHING, **wire, **said}, Definition)


def central(*definitions: Definition, clock: Clock | None = None) -> Central:
    made = Central(NOTHING_KEPT, clock or Clock())
    made.load(definitions)
    return made


def sampler(rules: Central) -> Sampler:
    settings = SimpleNamespace(rate=1.0, keep_errors=False, keep_slower_than=None)
    return Sampler(settings, rules.clock, rules)


def request(path: str = "/cart", status: int | None = 200, outcome: str = "ok", **known: Any) -> Request:
    return Request(
        trace_id="0" * 32,
        span_id="0" * 16,
        service="shop",
        worker_pid=1,
        start=datetime(2026, 1, 1, tzinfo=timezone.utc),
        duration_ms=1.0,
        host="www.example.com",
        method="GET",
        path=path,
        status=status,
        outcome=outcome,
        **known,
    )


def counts(rules: Central, name: str = "shop") -> Counts:
    return next(found for found in rules._in_force.rules if found.name == name).standing.counts
