"""Segments with subsegments as documents: none too large, nothing lost, and what was trimmed is said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from believable import NOON, exception, killed, request
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_schema import MOST, checked

from server_tracing.config import Config, XRay
from server_tracing.export.exporter import Setup
from server_tracing.export.xray.exporter import XRayExporter
from server_tracing.export.xray.limits import DOCUMENT
from server_tracing.record import ExceptionInfo, FinishedSpan, Frame, Request


def span(number: int, parent: int = 1, **given: Any) -> FinishedSpan:
    values = {"name": f"s{number}", "kind": "internal", "start": NOON, "duration_ms": 1.0, **given}
    return FinishedSpan(span_id=f"{number:016x}", parent_id=f"{parent:016x}", **values)


def documents(one: Request, threshold: int = 30) -> list[dict]:
    """What would be sent, each checked."""
    exporter = XRayExporter(Setup(Config(xray=XRay(streaming_threshold=threshold)), {}, "shop", ""))
    return [checked(sheet.data) for sheet in exporter.sheets(one)]


def within(document: dict) -> dict[str, list]:
    """The names of subsegments, as a tree."""
    return {inner["name"]: within(inner) for inner in document.get("subsegments", ())}


def all_names(told: list[dict]) -> list[str]:
    """Every subsegment in every document."""
    own = [document["name"] for document in told if document.get("type") == "subsegment"]
    return sorted(own + [name for document in told for name in _inner(document)])


def _inner(document: dict):
    for inner in document.get("subsegments", ()):
        yield inner["name"]
        yield from _inner(inner)


def test_spans_are_subsegments_in_each_other():
    """In the order they came."""
    (told,) = documents(request(1, spans=[span(5), span(6, 5), span(7), span(8, 6)]))
    assert within(told) == {"s5": {"s6": {"s8": {}}}, "s7": {}}
    assert told["subsegments"][0] == {
        "id": "0000000000000005",
        "name": "s5",
        "start_time": 1772366400.0,
        "end_time": 1772366400.001,
        "subsegments": told["subsegments"][0]["subsegments"],
    }


def test_a_child_may_come_before_its_parent_or_without_one():
    """A span is written when it ends, too; one whose parent was dropped is the request's."""
    (told,) = documents(request(1, spans=[span(6, 5), span(5), span(9, 77)]))
    assert within(told) == {"s5": {"s6": {}}, "s9": {}}


def test_spans_in_a_circle_are_all_there():
    """Which only a forger would draw."""
    told = documents(request(1, spans=[span(5, 6), span(6, 5), span(7, 7), span(8)]))
    assert all_names(told) == ["s5", "s6", "s7", "s8"]


@pytest.mark.parametrize("threshold", [0, 1, 3, 30])
def test_beyond_the_threshold_subsegments_go_by_themselves(threshold):
    """Each document holds so many at most, and says where it belongs."""
    told = documents(request(1, spans=[span(number) for number in range(5, 45)]), threshold)
    segment, *streamed = told
    assert len(segment.get("subsegments", ())) == threshold
    assert len(streamed) == 40 - threshold
    assert {one["parent_id"] for one in streamed} == {segment["id"]}
    assert {one["trace_id"] for one in streamed} == {segment["trace_id"]}
    assert all_names(told) == sorted(f"s{number}" for number in range(5, 45))


def test_what_goes_by_itself_takes_its_children_along():
    """As many as there is room for."""
    spans = [span(5), *[span(number, 5) for number in range(6, 10)]]
    told = documents(request(1, spans=spans), threshold=4)
    assert [(one["name"], list(within(one))) for one in told] == [
        ("shop", []),
        ("s5", ["s6", "s7", "s8", "s9"]),
    ]


def test_beyond_the_bytes_they_go_by_themselves_too():
    """30 subsegments of 8 kB each are no document; the SDK loses all of them."""
    big = {"q": "x" * 8000}
    told = documents(request(1, spans=[span(number, metadata=big) for number in range(5, 35)]))
    assert len(told) > 20
    assert all_names(told) == sorted(f"s{number}" for number in range(5, 35))
    assert not any("trimmed" in str(one) for one in told)


def test_a_thousand_spans_in_each_other_are_no_tower():
    """Neither we nor a reader of JSON run out of stack."""
    spans = [span(number, number - 1 if number > 5 else 1) for number in range(5, 1005)]
    told = documents(request(1, spans=spans), threshold=10_000)
    assert len(all_names(told)) == 1000
    assert max(map(depth, told)) <= 51


def depth(document: dict) -> int:
    return 1 + max(map(depth, document.get("subsegments", ())), default=0)


def test_metadata_is_trimmed_first_and_the_largest_of_it():
    """Small values stay; the document says that there was more."""
    metadata = {"default": {"large": ["x" * 1000] * 100, "small": 1}, "more": {"note": "kept"}}
    (told,) = documents(request(metadata=metadata, exception=exception()))
    assert told["metadata"]["default"]["large"].startswith("(trimmed: 100")
    assert told["metadata"]["default"]["small"] == 1
    assert told["metadata"]["more"] == {"note": "kept"}
    assert told["metadata"]["server_tracing"]["trimmed"] == ["metadata"]
    assert told["cause"]["exceptions"][0]["stack"]


def test_then_the_stack_with_a_count_of_what_is_gone():
    """The innermost frames stay."""
    frames = [Frame("/srv/" + "p" * 240, line, "f" * 240) for line in range(200)]
    info = ExceptionInfo("E", "m", "", None, frames, 7)
    (told,) = documents(request(outcome="error", status=500, exception=info))
    (cause,) = told["cause"]["exceptions"]
    assert [frame["line"] for frame in cause["stack"]] == list(range(180, 200))
    assert cause["truncated"] == 187
    assert told["metadata"]["server_tracing"]["trimmed"] == ["stack"]


def test_then_the_chain_of_exceptions_keeps_its_ends():
    """The one that got out, and the one it all began with."""
    info = None
    for number in range(8):
        info = ExceptionInfo(f"E{number}", "é" * 4000, cause=info)
    (told,) = documents(request(status=500, exception=info))
    first, last = told["cause"]["exceptions"]
    assert (first["type"], last["type"], last["skipped"], first["cause"]) == ("E7", "E0", 6, last["id"])
    assert len(first["message"]) == 1000


def test_a_subsegment_that_is_too_large_by_itself_is_trimmed_like_a_segment():
    """Its blocks come after its metadata."""
    query = {"namespace": "remote", "sql": {"sanitized_query": "é" * 40_000, "user": "ada"}}
    (told,) = documents(request(1, spans=[span(5, metadata=query)]))
    (inner,) = told["subsegments"]
    assert inner["sql"] == {"sanitized_query": "é" * 1000, "user": "ada"}
    assert inner["metadata"]["server_tracing"]["trimmed"] == ["blocks"]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 70_000), max_size=12),
    parents=st.lists(st.integers(1, 16), min_size=12, max_size=12),
    texts=st.lists(st.sampled_from(["x", "é", "\x00", "日"]), min_size=1, max_size=3),
    threshold=st.integers(0, 40),
    frames=st.integers(0, 400),
)
def test_no_document_is_ever_too_large_and_no_span_is_lost(sizes, parents, texts, threshold, frames):
    """Whatever stands in them."""
    letter = texts[0]
    spans = [
        span(5 + number, parents[number], metadata={"m": letter * size}, annotations={"a": letter * size})
        for number, size in enumerate(sizes)
    ]
    one = request(
        1,
        status=500,
        spans=spans,
        metadata={"default": {str(number): letter * size for number, size in enumerate(sizes)}},
        annotations={f"a{number}": letter * 3000 for number in range(60)},
        user=letter * 9000,
        headers={"x": letter * 9000},
        exception=ExceptionInfo("E", letter * 9000, frames=[Frame(letter * 300, 1, letter * 300)] * frames),
    )
    told = documents(one, threshold)
    assert all_names(told) == sorted(one.name for one in spans)


def test_the_limit_is_below_what_x_ray_and_a_datagram_take():
    """With the daemon's header before it."""
    assert DOCUMENT + 30 < 65_507 < MOST


def test_a_span_that_had_not_ended_is_in_progress():
    """In the segment of a request that has."""
    (told,) = documents(request(1, spans=[span(5, duration_ms=None)]))
    (inner,) = told["subsegments"]
    assert inner["in_progress"]
    assert "end_time" not in inner


def test_a_span_in_which_the_worker_died_ended_there():
    """Which one it was is what one wants to know."""
    (told,) = documents(killed(1, start=NOON, spans=[span(5, duration_ms=None), span(6)]))
    broken, fine = told["subsegments"]
    assert (broken["fault"], broken["end_time"]) == (True, told["end_time"])
    assert "fault" not in fine


def test_a_call_is_told_in_x_rays_own_terms():
    """Where whoever recorded it has put them into the span's metadata."""
    metadata = {
        "namespace": "aws",
        "http": {"request": {"method": "POST", "url": "https://x/" + "y" * 300}, "response": {"status": 404}},
        "sql": {"sanitized_query": "SELECT 1"},
        "aws": {"operation": "PutItem", "region": "eu-west-1", "request_id": "r", "table_name": "carts"},
        "cause": {"remote": True},
        "metadata": {"default": {"a": 1}, "shop": {"b": 2}},
        "own": [3],
    }
    given = span(5, kind="client", name="dynamodb", metadata=metadata, exception=exception())
    (told,) = documents(request(1, spans=[given]))
    (inner,) = told["subsegments"]
    assert (inner["namespace"], inner["aws"], inner["sql"]) == ("aws", metadata["aws"], metadata["sql"])
    assert len(inner["http"]["request"]["url"]) == 250
    assert (inner["error"], "fault" in inner) == (True, False)
    assert inner["cause"]["exceptions"][0]["remote"]
    assert inner["metadata"] == {"default": {"a": 1, "own": [3]}, "shop": {"b": 2}}


def test_flags_that_were_said_are_kept():
    """As the SDK's `add_fault_flag` and its like say them; an exception without a status is a fault."""
    spans = [span(5, metadata={"throttle": True, "error": True}), span(6, exception=exception()), span(7)]
    (told,) = documents(request(1, spans=spans))
    flags = [[flag for flag in ("error", "throttle", "fault") if flag in one] for one in told["subsegments"]]
    assert flags == [["error", "throttle"], ["fault"], []]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {
                "http.request.method": "GET",
                "url.full": "https://u:p@api.example:8443/s?token=1#x",
                "http.response.status_code": 503,
            },
            {
                "name": "api.example",
                "namespace": "remote",
                "http": {
                    "request": {"method": "GET", "url": "https://api.example:8443/s"},
                    "response": {"status": 503},
                },
                "fault": True,
            },
        ),
        (
            {
                "db.system": "postgresql",
                "db.statement": "SELECT ?",
                "db.name": "shop",
                "net.peer.name": "db1",
            },
            {
                "name": "shop@db1",
                "namespace": "remote",
                "sql": {"database_type": "postgresql", "sanitized_query": "SELECT ?"},
            },
        ),
        (
            {
                "rpc.system": "aws-api",
                "rpc.service": "S3",
                "rpc.method": "GetObject",
                "cloud.region": "eu-west-1",
            },
            {"name": "S3", "namespace": "aws", "aws": {"operation": "GetObject", "region": "eu-west-1"}},
        ),
        ({"peer.service": "stock"}, {"name": "stock", "namespace": "remote"}),
        ({}, {"name": "s5", "namespace": "remote"}),
    ],
)
def test_spans_of_opentelemetrys_clients_are_calls_too(said, told):
    """By its semantic conventions; no query and no credentials in an address."""
    (document,) = documents(request(1, spans=[span(5, kind="client", annotations=said)]))
    (inner,) = document["subsegments"]
    for known in ("id", "start_time", "end_time", "annotations"):
        inner.pop(known, None)
    assert inner == told


def test_a_span_of_the_applications_own_is_no_call():
    """Whatever it is annotated with."""
    (document,) = documents(request(1, spans=[span(5, annotations={"http.url": "http://x/"})]))
    assert "namespace" not in document["subsegments"][0]


@pytest.mark.parametrize(
    "metadata", [{"namespace": 7}, {"http": 1, "sql": [], "aws": "x"}, {"metadata": 3, "cause": 1}]
)
def test_blocks_that_are_none_are_left_out(metadata):
    """Rather than refused with the rest."""
    (document,) = documents(request(1, spans=[span(5, metadata=metadata)]))
    assert set(document["subsegments"][0]) == {"id", "name", "start_time", "end_time"}


NAMES = st.sampled_from(["namespace", "http", "sql", "aws", "metadata", "cause", "error", "fault", "own"])
INNER = st.sampled_from(["request", "response", "status", "url", "traced", "user", "operation", "a"])
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=300)
TREES = st.recursive(
    LEAVES, lambda tree: st.dictionaries(INNER, tree, max_size=4) | st.lists(tree, max_size=2)
)


@settings(max_examples=80, deadline=None)
@given(
    metadata=st.dictionaries(NAMES, TREES, max_size=5),
    annotations=st.dictionaries(
        st.text(max_size=9), LEAVES.filter(lambda leaf: leaf is not None), max_size=3
    ),
    name=st.text(max_size=300),
    kind=st.sampled_from(["client", "internal"]),
)
def test_whatever_a_span_says_its_document_is_taken(metadata, annotations, name, kind):
    """One field of the wrong type would cost the whole of it."""
    documents(request(1, spans=[span(5, name=name, kind=kind, metadata=metadata, annotations=annotations)]))


def test_a_span_later_than_its_request_keeps_its_time():
    """Work that goes on after the answer."""
    late = span(5, start=NOON + timedelta(hours=1))
    (told,) = documents(request(1, spans=[late]))
    assert told["subsegments"][0]["start_time"] == told["start_time"] + 3599.0
