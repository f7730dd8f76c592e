"""Rules and reservoirs beside those of X-Ray's SDK: whatever comes, both say the same."""

from __future__ import annotations

from typing import Any

import pytest
from central_kit import Clock, central, rule
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.sampling.central import BORROWED, NONE, TAKEN
from server_tracing.sampling.terms import Target

pytest.importorskip("aws_xray_sdk")
from aws_xray_sdk.core.sampling.reservoir import Reservoir, ReservoirDecision
from aws_xray_sdk.core.sampling.rule_cache import RuleCache
from aws_xray_sdk.core.sampling.sampling_rule import SamplingRule

PATTERN = st.text("ab.*?/", max_size=6)
TEXT = st.text("ab./", max_size=6)  # a star in a request is taken for the pattern's by the SDK, at times
ASKED = st.fixed_dictionaries({name: st.none() | TEXT for name in ("host", "method", "path", "service")})


@given(
    st.lists(st.tuples(st.integers(1, 3), PATTERN, PATTERN, PATTERN, PATTERN), max_size=5),
    ASKED,
    st.booleans(),
)
def test_the_sdk_finds_the_same_rule(
    patterns: list[tuple[int, str, str, str, str]], asked: dict[str, str | None], default: bool
) -> None:
    """Whatever the patterns, whatever the request."""
    named = [(f"r{number}", *told) for number, told in enumerate(patterns)]
    named += [("Default", 10000, "*", "*", "*", "*")] if default else []
    cache = RuleCache()
    theirs = [
        SamplingRule(name, priority, 0.0, 0, host, method, path, service, "*")
        for name, priority, host, method, path, service in named
    ]
    cache.load_rules(theirs)
    cache.last_updated = 1000
    ours = central(
        *(
            rule(name, priority, Host=host, HTTPMethod=method, URLPath=path, ServiceName=service)
            for name, priority, host, method, path, service in named
        )
    )
    expected = cache.get_matched_rule({**asked, "service_type": None}, 1000)
    assert ours.find(**asked).name == ("default" if expected is None else expected.name)


DECISIONS = {
    ReservoirDecision.TAKE: TAKEN,
    ReservoirDecision.BORROW: BORROWED,
    ReservoirDecision.NO: NONE,
    None: NONE,
}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 6)),
        st.tuples(st.just("wait"), st.integers(1, 3)),
        st.tuples(st.just("quota"), st.tuples(st.none() | st.integers(0, 4), st.none() | st.integers(-2, 9))),
    ),
    max_size=30,
)


@given(STEPS, st.booleans())
def test_the_reservoir_is_the_sdks(steps: list[tuple[str, Any]], may_borrow: bool) -> None:
    """Taking, borrowing and running dry, second by second, with quotas that come and expire."""
    clock = Clock()
    theirs = Reservoir()
    ours = central(rule(reservoir=int(may_borrow)), clock=clock)
    standing = ours._in_force.rules[0].standing
    for step, told in steps:
        if step == "wait":
            clock.now += told
        elif step == "quota":
            quota, lasts = told
            until = None if lasts is None else clock.now + lasts
            theirs.load_quota(quota, until, None)
            ours.grant([Target(name="shop", quota=quota, quota_until=until)])
        for _ in range(told if step == "ask" else 0):
            expected = DECISIONS[theirs.borrow_or_take(int(clock.now), may_borrow)]
            assert standing.grant(clock.now, may_borrow) == expected
