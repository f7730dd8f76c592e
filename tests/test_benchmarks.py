"""The benchmarks can be run, and measure what they say; how fast anything is, no test asks."""

from __future__ import annotations

import msgspec
import pytest
from measure import Added, Variant, added, rounds

pytest.importorskip("gunicorn")


@pytest.fixture
def measured(tmp_path):
    """The journal, and everything hot_path.py measures by name; gunicorn's classes are left as they were."""
    pytest.importorskip("opentelemetry.instrumentation.asgi")
    import hot_path
    import subjects

    journal = hot_path.journal_in(str(tmp_path))
    yield journal, {variant.name: variant for variant in hot_path.contestants(journal)}
    subjects.give_responses(subjects.GOES_OUT)


def test_every_contestant_serves(measured):
    """A block of requests of each, plain or recorded or traced, runs through."""
    for variant in measured[1].values():
        variant.between()
        variant.block(3)


@pytest.mark.parametrize("name", ["hooks", "response", "wsgi", "asgi"])
def test_what_is_measured_is_the_recording(name, measured):
    """Three requests leave the frames of three begins and three ends in the journal."""
    journal, variants = measured
    variants[name].between()
    variants[name].block(3)
    assert len(journal.read(0)[0]) == 6


def test_a_budget_is_held_against_something_that_is_measured(measured):
    """Every line of the table has its figures."""
    import hot_path

    compared = {name for name, variant in measured[1].items() if variant.against}
    lines = {name for budget in hot_path.BUDGETS for name in (budget.variant, budget.peer)}
    assert lines | set(hot_path.UNBUDGETED.values()) <= compared


def test_a_difference_is_taken_within_a_round():
    """A machine that is slow for a round is slow for both: only the difference counts."""
    taken = {"plain": [1000.0, 9000.0, 2000.0], "ours": [3000.0, 11000.0, 4000.0]}
    assert added(taken, Variant("ours", lambda count: None, "plain")) == Added(2.0, 2.0, 2.0)


def test_every_variant_is_measured_in_every_round():
    """None is left out, and time is kept to."""
    served = []
    variants = [Variant("plain", served.append), Variant("ours", served.append, "plain", threads=2)]
    taken = rounds(variants, seconds=0.05)
    assert len(taken["plain"]) == len(taken["ours"]) >= 1
    assert all(nanoseconds > 0 for nanoseconds in taken["ours"])


def test_what_an_application_can_ask_for_is_measured(tmp_path):
    """Every contestant of inside.py runs through, and has a line in its table."""
    pytest.importorskip("opentelemetry.sdk")
    import hot_path
    import inside

    variants = inside.contestants(hot_path.journal_in(str(tmp_path)))
    for variant in variants:
        variant.between()
        variant.block(2)
    assert {variant.name for variant in variants if variant.against} == set(inside.TITLES)


def test_what_delivery_to_x_ray_is_measured_with_are_segments():
    """Every request of the benchmark, and what the SDK makes of it, would be taken."""
    pytest.importorskip("aws_xray_sdk")
    from plain_requests import believable
    from segment_schema import checked
    from standin_daemon import Daemon
    from xray_cost import exporter, their_segment

    from server_tracing.config import XRay

    with Daemon() as daemon:
        ours = exporter(XRay(daemon_address=daemon.address))
        ours.export(believable(20))
        ours.close()
        assert len(daemon.settled()) == 20
    theirs = their_segment(believable(1)[0]).to_dict() | {"in_progress": None}
    assert checked(msgspec.json.encode({key: value for key, value in theirs.items() if value is not None}))


def test_what_delivery_is_measured_with_is_valid_telemetry():
    """Every request of the benchmark is taken by a service that looks at each field."""
    from azure_kit import exporting
    from ingestion import Ingestion
    from plain_requests import believable

    with Ingestion() as service, exporting(service) as exporter:
        exporter.export(believable(20))
    assert (len(service.requests()), service.rejected) == (20, [])
