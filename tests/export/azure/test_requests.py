"""Requests as the service gets them: everything it can show, within the lengths it allows."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from azure_kit import exporting, now, request
from believable import exception, failed, killed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingestion import Ingestion
from published import SDK_VERSION

from server_tracing.export.azure import payload
from server_tracing.export.azure.names import MALFORMED, MOST, MOST_NOT_FOUND, MOST_OF_PATHS, OTHER, Names
from server_tracing.export.azure.schema import cut, time_span
from server_tracing.record import FinishedSpan, WorkerVitals


@pytest.fixture(scope="module")
def service():
    with Ingestion() as service:
        yield service


@pytest.fixture
def sent(service):
    """Sends records and gives what the service has taken of them."""

    def sent(*records, **azure):
        service.accepted.clear()
        service.rejected.clear()
        with exporting(service, **azure) as one:
            one.export(records)
        assert service.rejected == []
        return list(service.accepted)

    return sent


def test_a_request_tells_who_was_asked_for_what_by_whom_and_how_it_went(sent):
    """Every field has its place; nothing is said that is not known."""
    one = request(
        7,
        method="GET",
        path="/products/7",
        query="page=2",
        parent_id="c" * 16,
        duration_ms=12.5,
        ttfb_ms=11.5,
        queue_ms=2.5,
        cpu_ms=3.5,
        user="ada",
        service="shop.example.com",
        http_version="1.1",
    )
    (item,) = sent(one, version="1.2.3")
    tags, data = item["tags"], item["data"]["baseData"]
    assert item["name"] == "Microsoft.ApplicationInsights.Request"
    assert item["time"] == one.start.isoformat().replace("+00:00", "Z")
    assert "sampleRate" not in item
    assert SDK_VERSION.fullmatch(tags["ai.internal.sdkVersion"])
    assert tags == {
        "ai.cloud.role": "shop.example.com",
        "ai.cloud.roleInstance": tags["ai.cloud.roleInstance"],
        "ai.internal.sdkVersion": tags["ai.internal.sdkVersion"],
        "ai.application.ver": "1.2.3",
        "ai.operation.id": one.trace_id,
        "ai.operation.parentId": "c" * 16,
        "ai.operation.name": "GET /products/<int:id>",
        "ai.location.ip": "203.0.113.7",
        "ai.user.userAgent": one.user_agent,
        "ai.user.authUserId": "ada",
    }
    assert data == {
        "ver": 2,
        "id": one.span_id,
        "name": "GET /products/<int:id>",
        "url": "http://shop.example/products/7?page=2",
        "duration": "0.00:00:00.012500",
        "responseCode": "200",
        "success": True,
        "source": "203.0.113.7",
        "properties": {
            "worker": "sync 4711",
        },
        "measurements": {
            "ttfb_ms": 11.5,
            "queue_ms": 2.5,
            "cpu_ms": 3.5,
            "request_bytes": 0,
            "response_bytes": 5120,
        },
    }


def test_a_root_has_no_parent(sent):
    """An empty one would be looked for."""
    (item,) = sent(request())
    assert "ai.operation.parentId" not in item["tags"]


@pytest.mark.parametrize(
    ("fields", "code", "success"),
    [
        ({"status": 200}, "200", True),
        ({"status": 304}, "304", True),
        ({"status": 101, "scheme": "ws"}, "101", True),
        ({"status": 404}, "404", False),
        ({"status": 500}, "500", False),
        ({"status": 200, "outcome": "error"}, "200", False),  # it broke off in mid-stream
        ({"status": 200, "outcome": "disconnected"}, "200", True),
        ({"status": None, "outcome": "disconnected"}, "499", False),
        ({"status": 400, "outcome": "rejected", "reason": "invalid header name"}, "400", False),
        ({"status": None, "outcome": "killed", "reason": "timeout"}, "killed", False),
        ({"status": 200, "outcome": "killed", "reason": "signal 9"}, "200", False),
    ],
)
def test_what_counts_as_a_success(sent, fields, code, success):
    """What was answered below 400, and in whole; what was refused or killed failed, whatever its status."""
    (item,) = sent(request(**fields))
    data = item["data"]["baseData"]
    assert (data["responseCode"], data["success"]) == (code, success)
    assert data["properties"].get("reason") == fields.get("reason")
    assert data["properties"].get("outcome", "ok") == fields.get("outcome", "ok")


@pytest.mark.parametrize(
    ("fields", "success"),
    [
        ({"status": 404}, True),
        ({"status": 500}, False),
        ({"status": None, "outcome": "disconnected"}, True),
        ({"status": 400, "outcome": "rejected"}, False),
    ],
)
def test_what_counts_as_a_success_where_4xx_does(sent, fields, success):
    """The client's fault is not the service's; what the server refused is still shown as failed."""
    (item,) = sent(request(**fields), success_4xx=True)
    assert item["data"]["baseData"]["success"] is success


def test_a_killed_request_tells_where_it_was_and_how_its_worker_was(sent):
    """The last that is known of it."""
    vitals = WorkerVitals(
        time=now(), service="shop", worker_pid=1, rss_bytes=123, cpu_percent=99.5, threads=1, open_files=1,
        in_flight=1, served=1,
    )  # fmt: skip
    (item,) = sent(killed(start=now(), stack='  File "a.py", line 1, in f', vitals=vitals))
    data = item["data"]["baseData"]
    assert data["properties"]["stack"] == '  File "a.py", line 1, in f'
    assert (data["properties"]["outcome"], data["properties"]["reason"]) == ("killed", "timeout")
    assert data["measurements"]["worker_rss_bytes"] == 123
    assert data["duration"] == "0.00:00:30.000000"


@pytest.mark.parametrize(("rate", "percent"), [(1.0, None), (0.25, 25.0), (0.0, 0.0001)])
def test_a_sampled_request_says_for_how_many_it_stands(sent, rate, percent):
    """Also what hangs below it: the service multiplies by it."""
    items = sent(failed(start=now(), sample_rate=rate))
    assert [item.get("sampleRate") for item in items] == [percent and pytest.approx(percent)] * 2


def test_what_the_application_said_is_searchable(sent):
    """Annotations and metadata as properties; numbers and lists as text."""
    one = request(
        annotations={"customer": 17, "vip": True, "share": 0.5, "worker": "forged"},
        metadata={"default": {"cart": {"items": [1, 2]}}, "billing": {"iban": None}},
        headers={"x-tenant": "blue"},
        spans_dropped=3,
    )
    (item,) = sent(one)
    told = item["data"]["baseData"]["properties"]
    assert {key: told[key] for key in ("customer", "vip", "share", "cart", "billing.iban")} == {
        "customer": "17",
        "vip": "true",
        "share": "0.5",
        "cart": '{"items":[1,2]}',
        "billing.iban": "null",
    }
    assert (told["http.header.x-tenant"], told["spans_dropped"]) == ("blue", "3")
    assert told["worker"] == "sync 4711"


def test_the_caller_is_the_source(sent):
    """By its resource where its SDK says so, else by its address."""
    (item,) = sent(request(headers={"request-context": "x=1, appId=cid-v1:0f1e"}))
    assert item["data"]["baseData"]["source"] == "cid-v1:0f1e"


def test_links_stay_json_whatever_is_cut(sent):
    """A thousand links are as many as fit, each whole."""
    links = [{"trace_id": f"{number:032x}", "span_id": f"{number:016x}"} for number in range(1000)]
    (item,) = sent(request(metadata={"default": {"links": links}}))
    told = item["data"]["baseData"]["properties"]["_MS.links"]
    assert 10 < len(json.loads(told)) < 1000
    assert json.loads(told)[0] == {"operation_Id": "0" * 32, "id": "0" * 16}


HOSTILE = "\x00\x1b[31m\r\n\u202e 日本 😀" + "é😀" * 20000


def test_every_length_is_kept_whatever_a_request_holds(sent):
    """The service counts UTF-16 units; an item has no more than 64 KiB. Nothing is rejected."""
    hostile = request(
        service=HOSTILE, path="/" + HOSTILE, query=HOSTILE, user_agent=HOSTILE, user=HOSTILE, reason=HOSTILE,
        host=HOSTILE, route="/" + HOSTILE, stack=HOSTILE, outcome="killed", status=None, tracestate=HOSTILE,
        annotations={HOSTILE[:200]: HOSTILE, "": "", "n": float("nan"), "big": 10**5000},
        metadata={"default": {"a": [HOSTILE] * 3, "deep": {1: {2: HOSTILE}}}, HOSTILE[:300]: {"k": "v"}},
        headers={"h": HOSTILE}, client_ip=HOSTILE, trace_id="a" * 32,
    )  # fmt: skip
    (item,) = sent(hostile)
    assert item["data"]["baseData"]["id"] == hostile.span_id


def test_an_item_that_is_too_large_is_cut_not_lost(sent):
    """A hundred properties of 8 KiB do not fit."""
    (item,) = sent(request(annotations={f"k{number}": "x" * 9000 for number in range(100)}))
    told = item["data"]["baseData"]["properties"]
    assert len(json.dumps(item)) <= payload.MAX_ITEM
    assert told["k0"].startswith("xxx")
    assert item["data"]["baseData"]["success"] is True


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_a_surrogate_pair_is_no_text_and_no_reason_to_lose_a_request(sent, text):
    """It is spelt out."""
    items = sent(request(annotations={"said": text}, user_agent=text), failed(2, start=now(), reason=text))
    assert "\\ud" in items[0]["data"]["baseData"]["properties"]["said"]


@given(st.text(), st.integers(2, 50))
def test_a_cut_text_fits(text, limit):
    """And begins like the whole."""
    short = cut(text, limit)
    assert len(short.encode("utf-16-le")) // 2 <= limit
    assert short == text or text.startswith(short[:-1])


@pytest.mark.parametrize(
    ("milliseconds", "written"),
    [
        (0, "0.00:00:00.000000"),
        (-5, "0.00:00:00.000000"),
        (0.0005, "0.00:00:00.000001"),
        (999.9996, "0.00:00:01.000000"),
        (12.5, "0.00:00:00.012500"),
        (3_600_000, "0.01:00:00.000000"),
        (90_061_001, "1.01:01:01.001000"),
        (999 * 86_400_000, "999.00:00:00.000000"),
        (1000 * 86_400_000, "999.23:59:59.999999"),
    ],
)
def test_durations_are_time_spans(milliseconds, written):
    """Days, hours, minutes, seconds and microseconds, less than a thousand days."""
    assert time_span(milliseconds) == written


@pytest.mark.parametrize(
    ("microseconds", "written"),
    [
        (0, "0.00:00:00.000"),
        (500, "0.00:00:00.001"),
        (1500, "0.00:00:00.002"),
        (999_500, "0.00:00:01.000"),
        (3_600_000_000, "0.01:00:00.000"),
        (90_061_001_000, "1.01:01:01.001"),
    ],
)
def test_rounded_to_milliseconds_durations_are_opencensus_own(microseconds, written):
    """Rounded half up, as it does; we leave the rounding to whoever shows them."""
    days, _, clock = time_span(microseconds / 1000).partition(".")
    hours, minutes, seconds = clock.split(":")
    total = ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(seconds)
    assert time_span(int(total * 1000 + 0.5))[:-3] == written


WORD = "abcdefghij"
PATHS = [f"/{a}{b}{c}" for a in WORD for b in WORD for c in WORD]


class TestNames:
    """Operations are as many as the application has, however many paths are tried."""

    def test_method_and_route(self):
        """As the Performance blade groups them."""
        assert Names().of(request(method="PUT", route="/a/<b>")) == "PUT /a/<b>"

    def test_what_the_application_calls_it_wins(self):
        """request.name = ... in the application."""
        assert Names().of(request(name="checkout")) == "checkout"

    def test_without_a_route_the_path_makes_a_name_without_data(self):
        """A 404 is not a name of its own per number."""
        assert Names().of(request(route=None, path="/users/4711/x")) == "GET /users/{id}/x"

    def test_without_a_request_line_there_is_a_name_all_the_same(self):
        """What the server could not understand."""
        assert Names().of(request(route=None, path=None, method=None)) == MALFORMED

    @pytest.mark.parametrize("derived", [True, False])
    def test_a_scanner_makes_so_many_names_and_no_more(self, derived):
        """Whether the path was made a route already or not; what is there is named all the same."""
        names = Names()

        def name(path, status):
            return names.of(request(route=path if derived else None, path=path, status=status))

        tried = {name(path, 404) for path in PATHS}
        assert len(tried) == MOST_NOT_FOUND + 1
        assert OTHER in tried
        assert name("/new", 200) == "GET /new"
        assert name("/new", 404) == "GET /new"

    def test_paths_that_are_all_found_leave_names_to_what_is_not_made_of_paths(self):
        """An application without a framework, with a page for everything."""
        names = Names()
        assert len({names.of(request(route=path, path=path)) for path in PATHS}) == MOST_OF_PATHS + 1
        assert names.of(request(name="checkout")) == "checkout"
        assert names.of(request(route="/products/<id>", path="/products/1")) == "GET /products/<id>"

    def test_methods_somebody_made_up_are_one(self):
        """Else a thousand of them would take all names there are."""
        names = Names()
        assert {names.of(request(route="/a/<b>", method=f"X{number}")) for number in range(2 * MOST)} == {
            "(other) /a/<b>"
        }
        assert names.of(request(route="/new")) == "GET /new"

    def test_routes_and_given_names_have_an_end_too(self):
        """A framework that makes routes of paths, an application that names by customer."""
        names = Names()
        for number in range(2 * MOST):
            names.of(request(route=f"/{number}"))
            names.of(request(name=f"n{number}"))
        assert names.of(request(route="/one more")) == OTHER
        assert names.of(request(name="one more")) == OTHER


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text(max_size=200), st.text(max_size=20) | st.integers() | st.floats(), max_size=5),
    st.dictionaries(
        st.text(max_size=20), st.dictionaries(st.text(max_size=20), VALUES, max_size=4), max_size=3
    ),
    st.text(max_size=3000),
)
def test_nothing_an_application_says_is_rejected(sent, annotations, metadata, text):
    """Any values, any text, in any field that is text."""
    one = request(annotations=annotations, metadata=metadata, path=text, query=text, name=text, user=text)
    (item,) = sent(one)
    assert item["data"]["baseData"]["id"] == one.span_id


KNOWN = st.sampled_from(
    [
        "http.url",
        "http.method",
        "http.status_code",
        "db.system",
        "db.statement",
        "server.port",
        "component",
        "x",
    ]
)
PARTS = ["request", "response", "url"]
BLOCKS = st.sampled_from(["http", "sql", "aws", "namespace", "links", "flags", "metadata", "events"])
SPANS = st.builds(
    lambda name, kind, said, blocks, lasted, parent: FinishedSpan(
        span_id="1" * 16, parent_id=parent, name=name, kind=kind, start=now(), duration_ms=lasted,
        annotations=said, metadata=blocks,
    ),
    st.text(max_size=20) | st.just("mysql.query"),
    st.sampled_from(["client", "internal", "server", "", "odd"]),
    st.dictionaries(KNOWN, st.text(max_size=30) | st.integers() | st.floats() | st.booleans(), max_size=5),
    st.dictionaries(BLOCKS, VALUES | st.dictionaries(st.sampled_from(PARTS), VALUES)),
    st.none() | st.floats(-1, 1e13),
    st.text(min_size=1, max_size=200),
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SPANS, max_size=4))
def test_nothing_a_library_says_of_a_call_is_rejected(sent, spans):
    """Blocks that are none, URLs that are none, numbers that are none."""
    assert len(sent(request(spans=spans))) == 1 + len(spans)


def test_an_exception_is_found_under_its_request(sent):
    """With frames as the service takes them, what it was raised from, and where to group it."""
    one = failed(start=now(), exception=exception(), duration_ms=20)
    parent, item = sent(one)
    assert item["tags"]["ai.operation.parentId"] == parent["data"]["baseData"]["id"] == one.span_id
    assert item["tags"]["ai.operation.id"] == one.trace_id
    assert item["tags"]["ai.operation.name"] == "POST /cart"
    assert item["time"] == (one.start + timedelta(milliseconds=20)).isoformat().replace("+00:00", "Z")
    data = item["data"]["baseData"]
    outer, inner = data["exceptions"]
    assert (outer["id"], outer["outerId"], outer["typeName"], outer["message"]) == (
        1, 0, "OutOfStock", "no teapots left",
    )  # fmt: skip
    assert (inner["id"], inner["outerId"], inner["typeName"]) == (2, 1, "KeyError")
    assert outer["parsedStack"][0] == {
        "level": 0, "method": "take", "fileName": "/srv/shop/shelf.py", "line": 12,
    }  # fmt: skip
    assert outer["hasFullStack"] is True
    assert (data["severityLevel"], data["problemId"]) == (3, "OutOfStock at take")
    told = parent["data"]["baseData"]["properties"]
    assert (told["error.name"], told["error.message"]) == ("OutOfStock", "no teapots left")
