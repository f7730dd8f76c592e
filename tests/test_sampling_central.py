"""X-Ray's central rules in one process: which decides, what is taken and borrowed, what is reported."""

from __future__ import annotations

import random
from threading import Thread
from typing import Any

import pytest
from central_kit import IN, NOTHING_KEPT, OUT, Clock, central, counts, request, rule, sampler

from server_tracing.config import Config, Sampling, XRay
from server_tracing.propagation import Context
from server_tracing.sampling import Told, sampler_for
from server_tracing.sampling.central import Central, Standing
from server_tracing.sampling.rules import built_in
from server_tracing.sampling.terms import Boost, Counts, Target

# ------------------------------------------------------------------ which rule


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ({"Host": "*.example.com"}, {"host": "www.example.org"}),
        ({"HTTPMethod": "POST"}, {"method": "GET"}),
        ({"URLPath": "/api/*"}, {"path": "/cart"}),
        ({"ServiceName": "billing"}, {"service": "shop"}),
    ],
)
def test_each_pattern_counts(said: dict[str, str], asked: dict[str, str]) -> None:
    """What differs in one thing falls under the next rule; what does not tell it, under this one."""
    rules = central(rule("special", 1, **said), rule("Default", 10000))
    everything = {"host": None, "method": None, "path": None, "service": None}
    assert rules.find(**{**everything, **asked}).name == "Default"
    assert rules.find(**everything).name == "special"


def test_rules_are_asked_by_priority_then_by_name() -> None:
    """However they arrive."""
    rules = central(rule("Default", 10000), rule("b", 5), rule("a", 5), rule("c", 4, URLPath="/c"))
    assert [found.name for found in rules._in_force.rules] == ["c", "a", "b", "Default"]
    assert rules.find(None, None, "/x").name == "a"


def test_the_default_rule_matches_whatever_it_says() -> None:
    """Its name is reserved, and so it is in the SDK."""
    rules = central(rule("Default", 10000, Host="nobody.example.com"))
    assert rules.find("www.example.com", "GET", "/").name == "Default"


@pytest.mark.parametrize(
    "said",
    [
        {"Version": 2},
        {"ResourceARN": "arn:aws:ecs:*"},
        {"ServiceType": ""},
        {"Attributes": {"customer": "17"}},
    ],
)
def test_a_rule_that_asks_for_more_is_left_out(said: dict[str, Any]) -> None:
    """Nothing here knows what it asks for; the next one decides."""
    assert central(rule("odd", 1, **said), rule()).find(None, None, None).name == "shop"


def test_rules_for_another_kind_of_place_are_left_out_once_ours_is_known() -> None:
    """Until then they count, as in the SDK."""
    rules = central(rule("ecs", 1, ServiceType="AWS::ECS::*"), rule("Default", 10000, ServiceType="AWS::X"))
    assert rules.find(None, None, None).name == "ecs"
    rules.origin_is("AWS::EC2::Instance")
    assert rules.find(None, None, None).name == "Default"
    rules.origin_is("AWS::ECS::Container")
    assert rules.find(None, None, None).name == "ecs"


def test_local_rules_decide_before_the_others_came_and_an_hour_after_they_came_last() -> None:
    """Nothing is without a rule."""
    clock = Clock()
    rules = Central(built_in(), clock)
    assert not rules.fresh
    assert rules.find(None, None, None).name == "default"
    rules.load([rule("Default")])
    clock.now += 3600.0
    assert (rules.fresh, rules.find(None, None, None).name) == (True, "Default")
    clock.now += 0.1
    assert (rules.fresh, rules.find(None, None, None).name) == (False, "default")


def test_a_request_that_no_central_rule_matches_is_decided_locally() -> None:
    """The service always sends a Default; others need not."""
    rules = central(rule(URLPath="/api/*"))
    assert rules.find(None, None, "/cart").name == "default"
    assert rules.named("shop") is rules.find(None, None, "/api/x")
    assert rules.named("default") is rules.find(None, None, "/cart")
    assert rules.named("gone") is None


# ------------------------------------------------------------------ what is taken


def test_one_request_a_second_is_borrowed_until_there_is_a_quota() -> None:
    """Of a rule that has a reservoir; all others are drawn by its rate."""
    clock = Clock()
    rules = central(rule(reservoir=5, rate=0.5), clock=clock)
    decide = sampler(rules).decide
    first = [decide(request(), OUT).sampled for _ in range(3)]
    clock.now += 1
    second = [decide(request(), trace_id).sampled for trace_id in (OUT, IN, OUT)]
    assert (first, second) == ([True, False, False], [True, True, False])
    assert counts(rules) == Counts(requests=6, borrowed=2, sampled=1)


def test_a_quota_holds_for_each_second_and_until_it_expires() -> None:
    """Then borrowing begins again."""
    clock = Clock()
    rules = central(rule(reservoir=5), clock=clock)
    rules.grant([Target(name="shop", quota=2, quota_until=1001.0)])
    decide = sampler(rules).decide

    def kept() -> int:
        return sum(decide(request(), OUT).sampled for _ in range(5))

    taken = [kept()]
    clock.now = 1001.0
    taken.append(kept())
    clock.now = 1002.0
    taken.append(kept())
    assert taken == [2, 2, 1]
    assert counts(rules) == Counts(requests=15, borrowed=1, sampled=4)


def test_the_service_sets_the_rate_until_the_rules_come_anew() -> None:
    """Its target for this process goes before the rule's own."""
    rules = central(rule(rate=0.0))
    rules.grant([Target(name="shop", rate=1.0), Target(name="unknown", rate=1.0)])
    decide = sampler(rules).decide
    assert decide(request(), OUT).sampled
    rules.load([rule(rate=0.0)])
    assert not decide(request(), OUT).sampled


def test_a_boost_raises_the_rate_while_it_lasts() -> None:
    """It never lowers it."""
    clock = Clock()
    boosted = rule(rate=0.1, SamplingRateBoost={"MaxRate": 1.0, "CooldownWindowMinutes": 10})
    rules = central(boosted, clock=clock)
    decide = sampler(rules).decide
    rules.grant([Target(name="shop", boost=Boost(1.0, until=1060.0))])
    assert decide(request(), OUT).sampled
    clock.now = 1061.0
    assert not decide(request(), OUT).sampled
    rules.grant([Target(name="shop", rate=1.0, boost=Boost(0.0, until=2000.0))])
    assert decide(request(), OUT).sampled
    rules.grant([Target(name="shop", rate=0.0)])
    assert not decide(request(), IN).sampled


# ------------------------------------------------------------------ the record


def test_the_record_names_the_rule_and_weighs_what_it_stands_for() -> None:
    """Measured, as of every reservoir; over a refresh too."""
    clock = Clock()
    rules = central(rule(reservoir=1), clock=clock)
    decide = sampler(rules).decide
    first, _, _ = (decide(request(), OUT) for _ in range(3))
    assert first.central
    assert (first.rule, first.kept_because, first.sample_rate) == ("shop", "rule:shop", 1.0)
    rules.load([rule(reservoir=1)])
    clock.now += 1
    assert decide(request(), OUT).sample_rate == pytest.approx(1 / 3)


def test_what_was_told_is_kept_to_and_counted_once() -> None:
    """Whoever asked in the request's own time took from the reservoir; deciding takes nothing more."""
    rules = central(rule(reservoir=1))
    one = sampler(rules)
    told = one.propagated(OUT, Context(), "h", "GET", "/cart", "shop")
    assert told == Told(True, "shop")
    decided = one.decide(request(), OUT, told)
    assert (decided.sampled, decided.rule, counts(rules).requests) == (True, "shop", 1)


def test_the_callers_decision_is_no_rules() -> None:
    """It is not counted either: the service plans for what begins here."""
    rules = central(rule(rate=1.0))
    decided = sampler(rules).decide(request(parent_sampled=False), IN)
    assert (decided.sampled, decided.rule, counts(rules).requests) == (False, None, 0)


# ------------------------------------------------------------------ what is reported


def test_a_rule_reports_when_it_has_something_to_say_and_its_time_has_come() -> None:
    """Every ten seconds, unless the service wants another interval."""
    clock = Clock()
    rules = central(rule(rate=1.0), rule("idle", 200), clock=clock)
    decide = sampler(rules).decide
    decide(request(), IN)
    assert rules.reports() == []
    clock.now += 10
    assert [(one.name, one.counts) for one in rules.reports()] == [("shop", Counts(requests=1, sampled=1))]
    rules.grant([Target(name="shop", interval=30)])
    decide(request(), IN)
    clock.now += 29
    assert rules.reports() == []
    clock.now += 1
    assert [one.name for one in rules.reports()] == ["shop"]


def test_what_could_not_be_reported_is_reported_later() -> None:
    """Together with what has come since; of a rule that is gone, nothing."""
    clock = Clock()
    rules = central(rule(rate=1.0), clock=clock)
    decide = sampler(rules).decide
    decide(request(), IN)
    clock.now += 10
    lost = rules.reports()
    decide(request(), IN)
    rules.restore(lost)
    clock.now += 10
    assert [one.counts.requests for one in rules.reports()] == [2]
    rules.load([rule("other")])
    rules.restore(lost)
    assert rules.reports() == []


def test_a_rule_that_may_be_boosted_reports_what_went_wrong() -> None:
    """Of the requests it decided on: 5xx, and failures without a status."""
    clock = Clock()
    boosted = rule(rate=0.5, SamplingRateBoost={"MaxRate": 1.0, "CooldownWindowMinutes": 10})
    rules = central(boosted, clock=clock)
    decide = sampler(rules).decide
    decide(request(), IN)
    decide(request(status=404), IN)
    decide(request(status=500), IN)
    decide(request(status=503, outcome="error"), OUT)
    decide(request(status=None, outcome="killed"), OUT)
    decide(request(status=500, parent_sampled=True), OUT)
    clock.now += 10
    (report,) = rules.reports()
    assert report.boosts
    assert report.counts == Counts(requests=5, sampled=3, finished=5, anomalies=3, sampled_anomalies=1)


def test_counts_outlive_a_refresh() -> None:
    """Whatever the rule's own values have become."""
    clock = Clock()
    rules = central(rule(rate=1.0), clock=clock)
    sampler(rules).decide(request(), IN)
    rules.load([rule(rate=0.2, priority=7)])
    clock.now += 10
    assert [one.counts.requests for one in rules.reports()] == [1]


def test_nothing_is_lost_while_rules_and_targets_change() -> None:
    """Four threads decide while a fifth refreshes, grants and reports: nobody fails, every request counts."""
    rules = Central(NOTHING_KEPT)
    rules.load([rule(rate=0.5, reservoir=1)])
    one, reported, failed = sampler(rules), Counts(), []

    def decide(seed: int) -> None:
        draw = random.Random(seed)
        try:
            for _ in range(1500):
                one.decide(request(), draw.getrandbits(128))
        except Exception as error:
            failed.append(error)

    threads = [Thread(target=decide, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        rules.load([rule(rate=0.5, reservoir=1)])
        rules.grant([Target(name="shop", quota=3, quota_until=rules.clock() + 1, interval=0)])
        for report in rules.reports():
            reported.add(report.counts)
    for thread in threads:
        thread.join()
    rules.grant([Target(name="shop", interval=0)])
    for report in rules.reports():
        reported.add(report.counts)
    assert (failed, reported.requests) == ([], 6000)


# ------------------------------------------------------------------ by the settings


def test_the_settings_say_whose_rules_decide() -> None:
    """X-Ray's where its exporter is used, unless `[xray] sampling` says otherwise."""
    assert sampler_for(Config(exporters=("local", "xray"))).central is not None
    assert sampler_for(Config(exporters=("local",))).central is None
    assert sampler_for(Config(exporters=("xray",), xray=XRay(sampling="ratio"))).central is None


def test_without_rules_the_sdks_default_decides() -> None:
    """One request of every second, and 5 % of the others; a rules file goes before it."""
    clock = Clock()
    by_default = sampler_for(Config(exporters=("xray",), sampling=Sampling(keep_errors=False)), clock)
    assert [by_default.decide(request(), OUT).sampled for _ in range(3)] == [True, False, False]
    assert by_default.decide(request(), int(0.049 * 2**64)).sampled
    assert not by_default.decide(request(), int(0.051 * 2**64)).sampled


def test_a_rules_file_that_is_broken_by_now_costs_its_rules_only(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A start refuses it; a worker that is respawned says so, and records on."""
    broken = tmp_path / "rules.json"
    broken.write_text("{")
    config = Config(exporters=("xray",), sampling=Sampling(rules=str(broken), keep_errors=False))
    with caplog.at_level("WARNING"):
        one = sampler_for(config)
    decided = one.decide(request(), OUT)
    assert (decided.rule, decided.central) == ("default", False)
    assert caplog.messages == [
        f"sampling rules {broken}: Input data was truncated; until they can be read, requests are sampled as"
        " without them."
    ]
    assert sampler_for(Config(sampling=Sampling(rules=str(broken)))).decide(request(), OUT).sampled


def test_an_operator_can_read_what_is_in_force() -> None:
    """How many rules, or which others in their place."""
    rules = central(rule(), rule("other"))
    assert repr(rules) == "<Central 2 rules in force>"
    assert repr(rules.find(None, None, None)) == "<CentralRule other · 0 requests to report>"
    assert repr(Central(built_in())) == "<Central, <Rules 0 and the default> in force>"
    assert Standing(0.0).quota is None
