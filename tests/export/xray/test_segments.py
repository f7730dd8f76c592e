"""Requests as segments: every field in its place, within its limits, and nothing that X-Ray would refuse."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest
from believable import failed, killed, request, requests
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_schema import checked

from server_tracing.export.xray.documents import encode
from server_tracing.export.xray.segments import Segments
from server_tracing.export.xray.surroundings import Surroundings
from server_tracing.record import ExceptionInfo, Frame, Request

VECTORS = json.loads((Path(__file__).parents[2] / "vectors.json").read_text())
FLAGS = ("error", "throttle", "fault")


def document(request: Request, segments: Segments | None = None) -> dict:
    """Its segment, as X-Ray would read it."""
    return checked(encode((segments or Segments()).segment(request)))


def test_a_request_is_a_segment_with_every_field_in_its_place():
    """Times in epoch seconds, the trace id in X-Ray's spelling, who asked for what, and what they got."""
    told = document(
        request(
            1,
            trace_id="5759e988bd862e3fe1be46a994272793",
            span_id="53995c3f42cd8ad8",
            parent_id="70de5b6f19ff9a0a",
            start=datetime(2026, 3, 1, 12, 0, 0, 250000, timezone.utc),
            duration_ms=12.5,
            scheme="https",
            query="page=2",
            forwarded="x-forwarded-for",
            rule="checkout",
            central=True,
            user="ada",
        ),
        Segments("2.1"),
    )
    metadata = told.pop("metadata")
    assert told == {
        "id": "53995c3f42cd8ad8",
        "trace_id": "1-5759e988-bd862e3fe1be46a994272793",
        "parent_id": "70de5b6f19ff9a0a",
        "name": "shop",
        "start_time": 1772366400.25,
        "end_time": 1772366400.2625,
        "http": {
            "request": {
                "method": "GET",
                "url": "https://shop.example/products/1?page=2",
                "user_agent": request().user_agent,
                "client_ip": "203.0.113.7",
                "x_forwarded_for": True,
            },
            "response": {"status": 200, "content_length": 5120},
        },
        "user": "ada",
        "service": {"version": "2.1", **told["service"]},
        "aws": {"xray": {**told["aws"]["xray"], "sampling_rule_name": "checkout", "sdk": "server-tracing"}},
    }
    assert told["service"]["runtime"] == "CPython"
    assert metadata == {
        "server_tracing": {
            "route": "/products/<int:id>",
            "ttfb_ms": 11.9,
            "request_bytes": 0,
            "http_version": "1.1",
            "forwarded": "x-forwarded-for",
            "server": "gunicorn 27.0.1",
            "worker_pid": 4711,
            "worker_class": "sync",
        }
    }


def test_a_rule_of_a_file_is_not_told_as_one_of_the_console():
    """As in the SDK: nobody finds it there, and its name may be longer than theirs can."""
    told = document(request(rule="a rule whose description takes more than 32 characters"))
    assert "sampling_rule_name" not in told["aws"]["xray"]
    assert told["metadata"]["server_tracing"]["rule"].startswith("a rule whose")


@pytest.mark.parametrize("case", VECTORS["segment_name"], ids=lambda case: repr(case["service"]))
def test_names_hold_what_x_ray_allows(case):
    """The SDK's rule, and what it forgot."""
    assert document(request(service=case["service"]))["name"] == case["name"]


@pytest.mark.parametrize(
    ("service", "name"),
    [("x" * 300, "x" * 200), ("grüße 日本", "grüße 日本"), ("?*!", "unnamed"), ("a\u0301\x00", "a")],
)
def test_names_are_never_empty_nor_too_long(service, name):
    """Letters of all alphabets are letters."""
    assert document(request(service=service))["name"] == name


@pytest.mark.parametrize("case", VECTORS["status_flags"], ids=lambda case: str(case["status"]))
def test_flags_follow_the_final_status(case):
    """A caller's error, a throttled caller, our fault."""
    told = document(request(status=case["status"]))
    assert [flag for flag in FLAGS if flag in told] == case["flags"]


def test_an_exception_that_became_a_404_is_no_fault():
    """Nor one that became a redirect, as the SDK has it."""
    for status, flags in ((404, ["error"]), (303, [])):
        told = document(request(status=status, exception=ExceptionInfo("Http404", "no such product")))
        assert [flag for flag in FLAGS if flag in told] == flags


def test_a_response_that_broke_off_is_a_fault_whatever_its_status_said():
    """The SDK shows it as a success that took no time."""
    told = document(failed(status=200))
    assert told["fault"]
    assert told["cause"]["exceptions"][0]["type"] == "OutOfStock"


def test_a_cause_is_the_whole_chain_of_exceptions():
    """Each names the one it came from; stacks have the innermost call last, paths are relative."""
    frames = [
        Frame(f"{os.getcwd()}/shop/cart.py", 40, "add"),
        Frame("/usr/lib/python3/dist-packages/flask/app.py", 7, "f"),
    ]
    inner = ExceptionInfo("KeyError", "'teapot'", frames=[Frame("/srv/shelf.py", 9, "find")], skipped=3)
    told = document(failed(exception=ExceptionInfo("OutOfStock", "none left", "", inner, frames)))
    first, second = told["cause"]["exceptions"]
    assert told["fault"]
    assert told["cause"]["working_directory"] == os.getcwd()
    assert first["cause"] == second["id"] != first["id"]
    assert first["stack"] == [
        {"path": "shop/cart.py", "line": 40, "label": "add"},
        {"path": "flask/app.py", "line": 7, "label": "f"},
    ]
    assert (first["type"], first["message"], "truncated" in first) == ("OutOfStock", "none left", False)
    assert (second["truncated"], second["stack"][0]["path"]) == (3, "/srv/shelf.py")
    assert "cause" not in second


def test_a_killed_request_is_a_fault_that_says_why_and_where():
    """With the stack it had when it was stuck."""
    stack = '  File "/srv/report.py", line 12, in totals\n    rows = query()\n  File "x.py", line 3, in query'
    told = document(killed(reason="signal 9", stack=stack))
    (cause,) = told["cause"]["exceptions"]
    assert told["fault"]
    assert "status" not in told["http"]["response"]
    assert cause["type"] == "WorkerKilled"
    assert cause["message"].endswith("was killed: signal 9")
    assert [frame["label"] for frame in cause["stack"]] == ["totals", "query"]
    assert told["metadata"]["server_tracing"]["outcome"] == "killed"


def test_a_refused_request_says_what_was_wrong_with_it():
    """The SDK never saw one."""
    told = document(
        request(status=400, outcome="rejected", reason="invalid header name", method=None, path=None)
    )
    assert told["error"]
    assert told["cause"]["exceptions"][0]["message"] == "invalid header name"


def test_a_request_that_runs_is_in_progress():
    """Instead of an end it says so, and ends under the same id."""
    running, ended = document(request(outcome="running", status=None)), document(request())
    assert running["in_progress"]
    assert "end_time" not in running
    assert running["id"] == ended["id"]


def test_texts_are_cut_to_what_x_ray_takes():
    """250 characters each."""
    long = "x" * 999
    told = document(request(path=f"/{long}", user_agent=long, client_ip=long, method=long, user=long))
    asked = told["http"]["request"]
    assert {len(asked[key]) for key in ("url", "user_agent", "client_ip", "method")} == {250}
    assert len(told["user"]) == 250


def test_annotations_keep_to_the_rules():
    """Keys of letters, numbers, underscores; values that JSON knows; 50 that are indexed, the rest shown."""
    told = document(
        request(
            annotations={
                "http.route": "/x",
                "": 1,
                "n": float("nan"),
                "long": "y" * 2000,
                "yes": True,
                "f": 0.5,
            }
        )
    )["annotations"]
    assert told == {"http_route": "/x", "_": 1, "n": "nan", "long": "y" * 1000, "yes": True, "f": 0.5}
    many = document(request(annotations={f"a{number}": number for number in range(60)}))
    assert list(many["annotations"]) == [f"a{number}" for number in range(50)]
    assert many["metadata"]["server_tracing"]["annotations"] == {f"a{n}": n for n in range(50, 60)}


def test_metadata_keeps_its_namespaces_but_not_those_of_aws():
    """NaN, which is no JSON, is nothing."""
    given = {
        "default": {"cart": [1, float("nan")]},
        "AWS.reserved": {"a": 1},
        "server_tracing": {"notes_dropped": 2},
    }
    told = document(request(metadata=given))["metadata"]
    assert told["default"] == {"cart": [1, None]}
    assert told["server_tracing"]["said"] == {"notes_dropped": 2}
    assert "AWS.reserved" not in told


def test_where_it_runs_stands_in_every_segment_once_it_is_known():
    """The origin, and a block for each plugin."""
    segments = Segments()
    assert "origin" not in document(request(), segments)
    segments.surroundings = Surroundings({"ecs": {"container": "web"}}, "AWS::ECS::Container")
    told = document(request(), segments)
    assert (told["origin"], told["aws"]["ecs"]) == ("AWS::ECS::Container", {"container": "web"})


def test_a_working_directory_that_is_gone_is_none(tmp_path, monkeypatch):
    """The exporter of a server that outlives its deployment's folder."""
    gone = tmp_path / "release-1"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    cause = document(failed())["cause"]
    assert "working_directory" not in cause
    assert cause["exceptions"][0]["stack"][0]["path"] == "/srv/shop/cart.py"


def test_what_is_remembered_is_bounded():
    """Names and rules come from outside."""
    segments = Segments()
    for number in range(3000):
        segments.segment(request(service=f"s{number}", rule=f"r{number}", central=True))
    assert repr(segments) == "<Segments of 952 services · <Surroundings unknown>>"
    assert len(segments._aws) <= 1024


TEXTS = st.text(max_size=300)
VALUES = st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**64 - 1) | TEXTS
TREES = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)


@settings(max_examples=60, deadline=None)
@given(
    service=TEXTS.filter(bool),
    path=TEXTS,
    query=TEXTS,
    user=TEXTS,
    reason=TEXTS,
    annotations=st.dictionaries(TEXTS, VALUES.filter(lambda value: value is not None), max_size=60),
    metadata=st.dictionaries(TEXTS, st.dictionaries(TEXTS, TREES, max_size=3), max_size=3),
    status=st.none() | st.integers(100, 599),
    outcome=st.sampled_from(["ok", "error", "disconnected", "rejected", "killed", "running"]),
)
def test_whatever_a_request_holds_its_segment_is_one(**given_fields):
    """By the schema."""
    document(request(**given_fields))


def test_all_requests_of_a_day_are_segments():
    """An ordinary one."""
    names = {document(one)["name"] for one in [*requests(20), failed(), killed()]}
    assert names == {"shop"}
