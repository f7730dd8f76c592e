"""What a response says of its trace, and that it is what the record says."""

from __future__ import annotations

import pytest
from inside_kit import Lab

from server_tracing import current
from server_tracing.config import Config, Sampling
from server_tracing.inside import here
from server_tracing.inside.announcing import announcer

ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793"
DISCARDED = Config(sampling=Sampling(rate=0.0, keep_errors=False))


@pytest.fixture(autouse=True)
def nobody_is_followed():
    """Each test attaches what it needs."""
    yield
    here._host = None


def answered(*headers: tuple[str, str], config: Config | None = None, target: str = "/cart"):
    """What the response says, and the record."""
    lab = Lab(config, attach=False)
    with lab.request(*headers, target=target) as slot:
        said = dict(announcer(lab.host)(slot))
        assert dict(announcer(lab.host)(slot)) == said
    (record,) = lab.records() or (None,)
    return said, record


@pytest.mark.parametrize(
    ("sent", "config", "said"),
    [
        (f"{ROOT};Sampled=?", None, f"{ROOT};Sampled=1"),
        (f"{ROOT};Sampled=?", DISCARDED, f"{ROOT};Sampled=0"),
        (f"{ROOT};Sampled=1", None, ROOT),
        (f"{ROOT};Parent=53995c3f42cd8ad8;Sampled=0;Lineage=x:1", None, ROOT),
        (ROOT, DISCARDED, ROOT),
    ],
)
def test_the_callers_root_is_echoed_and_its_question_answered(sent, config, said):
    """Whatever was decided; never a parent or anything else."""
    assert answered(("X-AMZN-TRACE-ID", sent), config=config)[0]["X-Amzn-Trace-Id"] == said


def test_without_a_caller_it_is_the_trace_of_the_record():
    """And which span of it served this."""
    said, record = answered()
    trace = record.trace_id
    assert said == {
        "X-Amzn-Trace-Id": f"Root=1-{trace[:8]}-{trace[8:]}",
        "traceresponse": f"00-{trace}-{record.span_id}-03",
    }


def test_the_decision_is_the_records():
    """Made once, by saying it."""
    said, record = answered(config=DISCARDED)
    assert said["traceresponse"].endswith("-02")
    assert record.sampled is False


def test_the_application_hears_the_same():
    """Whoever asks first."""
    lab = Lab()
    announce = announcer(lab.host)
    with lab.request() as slot:
        said = dict(announce(slot))["traceresponse"]
        assert said == f"00-{current().trace_id}-{current().span_id}-03"
        assert current().sampled
    assert len(lab.joined()[0][0].notes) == 1


def test_what_is_excluded_takes_no_part_in_the_sample(tmp_path):
    """Health checks would use up the one request of every second; only their caller can want them."""
    rules = tmp_path / "rules.json"
    rules.write_text('{"version": 2, "default": {"fixed_target": 1, "rate": 0}}')
    config = Config(
        exclude=("/health",), sampling=Sampling(rules=str(rules), keep_errors=False), response_header=True
    )
    lab = Lab(config, attach=False)
    lab.sampler._clock = lambda: 5.0
    announce = announcer(lab.host)
    flags = []
    for target, *headers in (
        ("/health",),
        ("/health", ("X-AMZN-TRACE-ID", f"{ROOT};Sampled=1")),
        ("/cart",),
        ("/cart",),
    ):
        with lab.request(*headers, target=target) as slot:
            flags.append(dict(announce(slot))["traceresponse"][-1])
    assert flags == ["2", "1", "3", "2"]


def test_a_fault_of_ours_says_nothing():
    """The response goes out as it is."""
    lab = Lab(attach=False)
    with lab.request() as slot:
        slot.begin = b"garbled"
        assert announcer(lab.host)(slot) == []
