"""What is kept, why, and for how many it stands: the arithmetic, the order of decisions, the weights."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.propagation import Context
from server_tracing.record import Request
from server_tracing.sampling import Sampler, Told
from server_tracing.sampling.rules import RulesError, load

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text())
TEN_A_SECOND = SimpleNamespace(count=10, per_seconds=1)
IN, OUT = 1, 2**64 - 1  # low halves of a trace id that every and no ratio below 1 keeps


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sampler(
    rate: float = 0.0,
    rules: str | None = None,
    keep_errors: Any = False,
    keep_slower_than: float | None = None,
    clock: Clock | None = None,
) -> Sampler:
    settings = SimpleNamespace(rate=rate, keep_errors=keep_errors, keep_slower_than=keep_slower_than)
    return Sampler(settings, clock or Clock(), load(rules) if rules else None)


def request(outcome: str = "ok", status: int | None = 200, duration_ms: float = 1.0, **known: Any) -> Request:
    return Request(
        **{"trace_id": "0" * 32, "span_id": "0" * 16, **known},
        service="shop",
        worker_pid=1,
        start=datetime(2026, 1, 1, tzinfo=timezone.utc),
        outcome=outcome,
        status=status,
        duration_ms=duration_ms,
    )


def kept(decided: Request) -> tuple[bool, str | None, float]:
    return decided.sampled, decided.kept_because, decided.sample_rate


def stood_for(decided: Iterable[Request]) -> float:
    return sum(1 / record.sample_rate for record in decided if record.sampled)


def rules_file(folder: Path, fixed_target: int = 0, rate: float = 0.0) -> str:
    """One rule, `api`, for /api/*, and a default that keeps nothing."""
    rule = {"description": "api", "host": "*", "http_method": "*", "url_path": "/api/*"}
    content = {
        "version": 2,
        "default": {"fixed_target": 0, "rate": 0},
        "rules": [{**rule, "fixed_target": fixed_target, "rate": rate}],
    }
    path = folder / "rules.json"
    path.write_text(json.dumps(content))
    return str(path)


# ------------------------------------------------------------------ the ratio


@pytest.mark.parametrize("case", VECTORS["ratio"], ids=json.dumps)
def test_the_ratio_is_opencensus_arithmetic(case: dict[str, Any]) -> None:
    """So that services agree on a trace; and a sampled parent comes first."""
    trace_id = 0xABC << 64 | int(case["low64"], 16)
    decided = sampler(case["rate"]).decide(request(parent_sampled=case["parent"]), trace_id)
    assert decided.sampled is case["sampled"]


@pytest.mark.parametrize("low", [0, 1, 2**63, 2**64 - 1])
def test_all_is_all_and_none_is_none(low: int) -> None:
    """At 1 even the highest id is kept, at 0 not even the lowest."""
    assert kept(sampler(1.0).decide(request(), low)) == (True, "rate", 1.0)
    assert kept(sampler(0.0).decide(request(), low)) == (False, None, 1.0)


def test_the_bound_of_the_ratio_is_inside_it() -> None:
    """Half of 2**64 - 1, in OpenCensus' floating point, is 2**63."""
    assert sampler(0.5).decide(request(), 2**63).sampled
    assert not sampler(0.5).decide(request(), 2**63 + 1).sampled


def test_a_kept_request_carries_the_ratio() -> None:
    """Its inverse is the weight."""
    assert kept(sampler(0.25).decide(request(), IN)) == (True, "rate", 0.25)
    assert kept(sampler(0.25).decide(request(), OUT)) == (False, None, 1.0)


def test_weights_under_a_ratio_estimate_what_was_seen() -> None:
    """20,000 requests at 10 %: the estimate is within four standard deviations."""
    draw, by_ratio = random.Random(7), sampler(0.1)
    decided = [by_ratio.decide(request(), draw.getrandbits(128)) for _ in range(20_000)]
    assert stood_for(decided) == pytest.approx(20_000, abs=4 * (20_000 * 0.9 / 0.1) ** 0.5)


# ------------------------------------------------------------------ the parent


def test_the_parent_decides_before_rules_and_ratio(tmp_path: Path) -> None:
    """Both ways: a trace is kept whole or not at all."""
    by_rules = sampler(rules=rules_file(tmp_path, fixed_target=9, rate=1))
    assert kept(by_rules.decide(request(path="/api/x", parent_sampled=False), IN)) == (False, None, 1.0)
    assert kept(sampler(0.0).decide(request(parent_sampled=True), OUT)) == (True, "parent", 1.0)


def test_what_parents_let_go_is_stood_for_by_what_they_keep() -> None:
    """Their rate is not told, so it is measured."""
    by_parent, draw = sampler(1.0), random.Random(3)
    choices = [draw.random() < 0.05 for _ in range(1000)] + [True]
    decided = [by_parent.decide(request(parent_sampled=choice), IN) for choice in choices]
    assert [record.sampled for record in decided] == choices
    assert stood_for(decided) == pytest.approx(1001)


# ------------------------------------------------------------------ rules


def test_a_rule_names_itself(tmp_path: Path) -> None:
    """On the record and as the reason, also where it keeps nothing."""
    by_rules = sampler(rate=1.0, rules=rules_file(tmp_path, rate=1))
    decided = by_rules.decide(request(path="/api/x"), OUT)
    assert (kept(decided), decided.rule) == ((True, "rule:api", 1.0), "api")
    other = by_rules.decide(request(path="/x"), IN)
    assert (kept(other), other.rule) == ((False, None, 1.0), "default")


def test_the_reservoir_comes_before_the_rate(tmp_path: Path) -> None:
    """So many of every second, then the ratio; each kept one stands for those let go before it."""
    clock = Clock()
    by_rules = sampler(rules=rules_file(tmp_path, fixed_target=2), clock=clock)
    first = [by_rules.decide(request(path="/api/x"), IN) for _ in range(5)]
    clock.now += 1
    second = [by_rules.decide(request(path="/api/x"), IN) for _ in range(3)]
    assert [record.sampled for record in first] == [True, True, False, False, False]
    assert [record.sample_rate for record in second] == [1 / 4, 1.0, 1.0]


def test_weights_under_rules_add_up_to_what_was_seen(tmp_path: Path) -> None:
    """Rule by rule, whatever reservoir and rate make of it: all but those let go since the last kept."""
    clock, draw = Clock(), random.Random(11)
    by_rules = sampler(rules=rules_file(tmp_path, fixed_target=3, rate=0.1), clock=clock)
    decided = []
    for _ in range(10_000):
        clock.now += draw.expovariate(50)
        decided.append(by_rules.decide(request(path="/api/x"), draw.getrandbits(128)))
    trailing = next(n for n, record in enumerate(reversed(decided)) if record.sampled)
    assert stood_for(decided) == pytest.approx(10_000 - trailing)
    assert 0 < trailing < 100


def test_a_measured_weight_favours_no_kind_of_request(tmp_path: Path) -> None:
    """One in five is slow; a rule with a reservoir and a rate estimates both kinds without bias."""
    clock, draw, seen = Clock(), random.Random(23), Counter[bool]()
    by_rules = sampler(rules=rules_file(tmp_path, fixed_target=1, rate=0.1), clock=clock)
    stands: Counter[bool] = Counter()
    for _ in range(40_000):
        clock.now += draw.expovariate(100)
        slow = draw.random() < 0.2
        decided = by_rules.decide(
            request(path="/api/x", duration_ms=900.0 if slow else 1.0), draw.getrandbits(128)
        )
        seen[slow] += 1
        stands[slow] += 1 / decided.sample_rate if decided.sampled else 0
    assert stands[True] == pytest.approx(seen[True], rel=0.1)
    assert stands[False] == pytest.approx(seen[False], rel=0.05)


def test_a_bad_rules_file_stops_the_sampler(tmp_path: Path) -> None:
    """With the sentence of the rules."""
    with pytest.raises(RulesError, match=r"nowhere\.json"):
        sampler(rules=str(tmp_path / "nowhere.json"))


# ------------------------------------------------------------------ what is kept whatever the sample says


CLASSES = [
    (request("error", 500), "error"),
    (request("error", None), "error"),
    (request("ok", 503), "error"),
    (request("disconnected", 500), "error"),
    (request("killed", None), "killed"),
    (request("killed", 200), "killed"),
    (request("rejected", 400), "rejected"),
    (request("rejected", 503), "rejected"),
    (request(duration_ms=1000.1), "slow"),
    (request("disconnected", None, duration_ms=2000.0), "slow"),
    (request(duration_ms=1000.0), None),
    (request(status=404), None),
    (request(status=None), None),
    (request("disconnected", None), None),
    (request(status=101, scheme="ws", duration_ms=9e9), None),
    (request(status=101, scheme="wss", duration_ms=9e9), None),
    (request(event_stream=True, duration_ms=9e9), None),
]


@pytest.mark.parametrize(("seen", "because"), CLASSES)
@pytest.mark.parametrize("keep_errors", [True, TEN_A_SECOND])
def test_failed_killed_refused_and_slow_requests_are_kept(
    seen: Request, because: str | None, keep_errors: Any
) -> None:
    """Even at rate 0; what stays open on purpose is never slow."""
    keeping = sampler(0.0, keep_errors=keep_errors, keep_slower_than=1.0)
    assert kept(keeping.decide(seen, OUT)) == (because is not None, because, 1.0)


@pytest.mark.parametrize(("seen", "because"), CLASSES)
def test_nothing_beyond_the_sample_is_kept_unasked(seen: Request, because: str | None) -> None:
    """`keep_errors = false` and no `keep_slower_than`."""
    assert kept(sampler(0.0).decide(seen, OUT)) == (False, None, 1.0)
    assert kept(sampler(0.5).decide(seen, IN)) == (True, "rate", 0.5)


def test_each_switch_is_its_own() -> None:
    """Slow requests without errors, errors without slow requests."""
    only_slow = sampler(0.0, keep_slower_than=0.5)
    assert only_slow.decide(request(duration_ms=501.0), OUT).kept_because == "slow"
    assert not only_slow.decide(request("error", 500), OUT).sampled
    only_errors = sampler(0.0, keep_errors=True)
    assert only_errors.decide(request("error", 500), OUT).kept_because == "error"
    assert not only_errors.decide(request(duration_ms=9e9), OUT).sampled


def test_an_error_is_kept_against_the_parents_word() -> None:
    """Whatever the sample says."""
    decided = sampler(0.0, keep_errors=True).decide(request("error", 500, parent_sampled=False), OUT)
    assert kept(decided) == (True, "error", 1.0)


def test_a_class_kept_whole_weighs_one_each() -> None:
    """Also those the ratio would have kept, so its weights add up to what was seen, exactly."""
    keeping, draw = sampler(0.3, keep_errors=True), random.Random(5)
    decided = [keeping.decide(request("error", 500), draw.getrandbits(128)) for _ in range(1000)]
    assert {kept(record) for record in decided} == {(True, "error", 1.0)}
    assert stood_for(decided) == 1000


def test_a_limited_class_keeps_to_its_limit() -> None:
    """A burst of ten, then ten a second, evenly; an outage does not multiply the bill."""
    clock = Clock()
    keeping = sampler(0.0, keep_errors=TEN_A_SECOND, clock=clock)
    decided = []
    for _ in range(10_000):
        clock.now += 1 / 1024
        decided.append(keeping.decide(request("error", 500), OUT))
    weights = [1 / record.sample_rate for record in decided if record.sampled]
    assert len(weights) == 10 + int(10 * 10_000 / 1024)
    assert weights[:10] == [1.0] * 10
    assert all(round(weight) in (102, 103) for weight in weights[11:])
    assert 10_000 - sum(weights) == pytest.approx(0, abs=103)


def test_what_the_sample_keeps_of_a_limited_class_costs_no_token() -> None:
    """It says so, and the whole class is weighed as one."""
    keeping = sampler(0.5, keep_errors=SimpleNamespace(count=1, per_seconds=60))
    chosen = [IN, IN, OUT, OUT, OUT, IN]
    decided = [keeping.decide(request("error", 500), trace_id) for trace_id in chosen]
    assert [kept(record) for record in decided] == [
        (True, "rate", 1.0),
        (True, "rate", 1.0),
        (True, "error", 1.0),
        (False, None, 1.0),
        (False, None, 1.0),
        (True, "rate", 1 / 3),
    ]


def test_a_flood_of_refused_requests_does_not_hide_a_killed_one() -> None:
    """Each class has a limit of its own."""
    keeping = sampler(0.0, keep_errors=TEN_A_SECOND, keep_slower_than=1.0)
    flood = [keeping.decide(request("rejected", 400), OUT) for _ in range(100)]
    assert sum(record.sampled for record in flood) == 10
    for victim, because in ((request("killed", None), "killed"), (request(duration_ms=5000.0), "slow")):
        assert kept(keeping.decide(victim, OUT)) == (True, because, 1.0)


@pytest.mark.parametrize(
    ("count", "per_seconds", "expected"), [(0, 1, 0), (1, 60, 1), (0.5, 1, 1), (3, 60, 3)]
)
def test_limits_may_be_low(count: float, per_seconds: float, expected: int) -> None:
    """None at all, one a minute, one in two seconds."""
    keeping = sampler(0.0, keep_errors=SimpleNamespace(count=count, per_seconds=per_seconds))
    decided = [keeping.decide(request("error", 500), OUT) for _ in range(20)]
    assert sum(record.sampled for record in decided) == expected


def test_weights_of_everything_together_add_up() -> None:
    """Ordinary, failed, refused and slow requests in one stream: each kind, and so their sum."""
    clock, draw = Clock(), random.Random(42)
    keeping = sampler(0.2, keep_errors=TEN_A_SECOND, keep_slower_than=1.0, clock=clock)
    kinds = {
        "ordinary": lambda: request(),
        "error": lambda: request("error", 500),
        "rejected": lambda: request("rejected", 400),
        "slow": lambda: request(duration_ms=3000.0),
    }
    seen, stands = Counter[str](), Counter[str]()
    for _ in range(30_000):
        clock.now += draw.expovariate(1000)
        (kind,) = draw.choices(list(kinds), weights=[70, 20, 5, 5])
        decided = keeping.decide(kinds[kind](), draw.getrandbits(128))
        seen[kind] += 1
        stands[kind] += 1 / decided.sample_rate if decided.sampled else 0
    assert stands.total() == pytest.approx(seen.total(), rel=0.02)
    for kind in ("error", "rejected", "slow"):
        assert stands[kind] == pytest.approx(seen[kind], abs=60)  # measured: only the newest are missing


# ------------------------------------------------------------------ decisions made during the request


def test_what_others_were_told_is_honoured(tmp_path: Path) -> None:
    """A reservoir would draw anew: the second decision is the first one's, and takes nothing."""
    by_rules = sampler(rules=rules_file(tmp_path, fixed_target=1))
    told = by_rules.propagated(OUT, Context(), "h", "GET", "/api/x")
    assert told == Told(True, "api")
    assert by_rules.propagated(OUT, Context(), "h", "GET", "/api/x") == Told(False, "api")
    decided = by_rules.decide(request(path="/api/x"), OUT, told)
    assert (kept(decided), decided.rule) == ((True, "rule:api", 1.0), "api")
    assert kept(by_rules.decide(request(path="/api/x"), OUT, Told(False, "api"))) == (False, None, 1.0)


def test_all_who_ask_while_it_runs_are_told_the_same(tmp_path: Path) -> None:
    """The application, the response's header, the segment that is in progress: one decision, drawn once."""
    by_rules = sampler(rules=rules_file(tmp_path, fixed_target=1))

    def ask(span_id: int) -> Told:
        return by_rules.propagated(OUT, Context(), "h", "GET", "/api/x", span_id=span_id)

    assert [ask(1), ask(2), ask(1), ask(2)] == [Told(True, "api"), Told(False, "api")] * 2
    ended = request(path="/api/x", span_id="1".zfill(16))
    assert by_rules.decide(ended, OUT).sampled  # also where the journal had no room to note it
    assert not by_rules.decide(ended, OUT).sampled


def test_what_was_told_of_requests_that_got_lost_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest first, once there are very many."""
    monkeypatch.setattr("server_tracing.sampling.MOST_TOLD", 3)
    by_ratio = sampler(1.0)
    for span_id in range(1, 10):
        by_ratio.propagated(IN, Context(), None, None, None, span_id=span_id)
    assert list(by_ratio._told) == [7, 8, 9]


def test_the_rule_that_was_asked_is_the_one_that_is_named(tmp_path: Path) -> None:
    """Also where rules have changed since: one that is no more stands for nothing but what it decided."""
    by_rules = sampler(rules=rules_file(tmp_path))
    decided = by_rules.decide(request(path="/api/x"), OUT, Told(True, "gone"))
    assert (kept(decided), decided.rule) == ((True, "rule:gone", 1.0), "gone")
    other = by_rules.decide(request(path="/x"), OUT, Told(False, "api"))
    assert (kept(other), other.rule) == ((False, None, 1.0), "api")


@pytest.mark.parametrize("trace_id", [IN, OUT])
@pytest.mark.parametrize("parent", [None, True, False])
def test_telling_and_deciding_agree(trace_id: int, parent: bool | None) -> None:
    """Where nothing is drawn the answer is the same, asked or not."""
    one = sampler(0.5)
    told = one.propagated(trace_id, Context(sampled=parent), None, None, None)
    assert told == Told(trace_id == IN if parent is None else parent)
    asked = one.decide(request(parent_sampled=parent), trace_id, told)
    assert kept(asked) == kept(sampler(0.5).decide(request(parent_sampled=parent), trace_id))


def test_a_decision_made_under_another_rate_stands_for_itself() -> None:
    """A dead worker's record, decided by settings that are no more: honoured, with no weight invented."""
    assert kept(sampler(0.0).decide(request(), OUT, Told(True))) == (True, "rate", 1.0)
    assert kept(sampler(0.5).decide(request(), IN, Told(False))) == (False, None, 1.0)
    assert kept(sampler(0.0).decide(request(parent_sampled=False), OUT, Told(True))) == (
        True,
        "parent",
        1.0,
    )


def test_an_error_is_kept_though_others_were_told_no() -> None:
    """Propagation and keeping are two decisions."""
    keeping = sampler(0.0, keep_errors=True)
    assert kept(keeping.decide(request("error", 500), OUT, Told(False))) == (True, "error", 1.0)


# ------------------------------------------------------------------ whatever comes


@given(
    st.sampled_from(["ok", "error", "disconnected", "rejected", "killed"]),
    st.none() | st.integers(-1, 1000),
    st.floats(allow_nan=True),
    st.none() | st.text(),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    st.integers(0, 2**128 - 1),
    st.floats(0, 1),
)
def test_every_decision_is_whole(
    outcome: str,
    status: int | None,
    duration: float,
    text: str | None,
    parent: bool | None,
    told: bool | None,
    trace_id: int,
    rate: float,
) -> None:
    """A kept record has a reason and a rate above 0 and at most 1; one let go has neither."""
    keeping = sampler(rate, keep_errors=TEN_A_SECOND, keep_slower_than=1.0)
    seen = request(outcome, status, duration, host=text, method=text, path=text, parent_sampled=parent)
    decided = keeping.decide(seen, trace_id, None if told is None else Told(told))
    assert decided is seen
    assert 0 < decided.sample_rate <= 1
    assert decided.sampled is (decided.kept_because is not None)


def test_threads_lose_no_count(tmp_path: Path) -> None:
    """Four threads, one sampler: the weights still add up."""
    by_rules = sampler(rules=rules_file(tmp_path, rate=0.1))
    decided: list[list[Request]] = [[] for _ in range(4)]

    def work(mine: list[Request], seed: int) -> None:
        draw = random.Random(seed)
        mine += (by_rules.decide(request(path="/api/x"), draw.getrandbits(128)) for _ in range(2500))

    threads = [Thread(target=work, args=(mine, seed)) for seed, mine in enumerate(decided)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = by_rules.decide(request(path="/api/x"), IN)
    assert stood_for([record for mine in decided for record in mine] + [last]) == pytest.approx(10_001)


def test_an_operator_can_read_a_sampler(tmp_path: Path) -> None:
    """What decides and what is kept beyond it."""
    assert repr(sampler(0.05)) == "<Sampler rate 0.05 · keeps nothing else>"
    keeping = sampler(rules=rules_file(tmp_path), keep_errors=True, keep_slower_than=1.0)
    assert repr(keeping) == "<Sampler <Rules 1 and the default> · keeps error, killed, rejected, slow>"
