"""Spans as dependencies: in whatever words somebody told of a call, the portal sees what it was."""

from __future__ import annotations

from datetime import timedelta

import pytest
from azure_kit import exporting, now, request
from ingestion import Ingestion

from server_tracing.config.settings import Capture
from server_tracing.export.azure.dependencies import Dependencies
from server_tracing.record import ExceptionInfo, FinishedSpan, Frame
from server_tracing.redact import Redactor


def span(name="call", kind="client", **fields) -> FinishedSpan:
    given = {"span_id": "1" * 16, "parent_id": "2" * 16, "start": now(), "duration_ms": 1.5, **fields}
    return FinishedSpan(name=name, kind=kind, **given)


def told(one: FinishedSpan):
    return Dependencies(Redactor(Capture())).of(one, 7.0)


HTTP = [
    {
        "annotations": {
            "http.method": "GET",
            "http.url": "https://api.example/v1/users/17",
            "http.status_code": 200,
        }
    },
    {
        "annotations": {
            "http.request.method": "GET",
            "url.full": "https://api.example:443/v1/users/17",
            "http.response.status_code": 200,
        }
    },
    {
        "metadata": {
            "namespace": "remote",
            "http": {
                "request": {"method": "GET", "url": "https://api.example/v1/users/17"},
                "response": {"status": 200},
            },
        }
    },
    {
        "annotations": {
            "component": "HTTP",
            "http.host": "api.example",
            "http.method": "GET",
            "http.path": "/v1/users/17",
            "http.status_code": 200,
            "http.url": "https://api.example/v1/users/17",
        }
    },
]


@pytest.mark.parametrize(
    "said", HTTP, ids=["opentelemetry, old", "opentelemetry, new", "x-ray", "opencensus"]
)
def test_a_call_by_http(said):
    """Method and path without data for a name, the host for a target, the URL for what was done."""
    one = told(span(**said))
    assert (one.type, one.target, one.name) == ("HTTP", "api.example", "GET /v1/users/{id}")
    assert (one.data.replace(":443", ""), one.resultCode) == ("https://api.example/v1/users/17", "200")
    assert one.success
    assert not [key for key in one.properties if key.startswith("http.")]


@pytest.mark.parametrize(("status", "success"), [(404, False), (503, False), (304, True), ("x", False)])
def test_a_call_that_was_answered_with_an_error_failed(status, success):
    """As OpenCensus has it."""
    one = told(span(annotations={"http.url": "http://h:8080/", "http.status_code": status}))
    assert (one.success, one.resultCode, one.target) == (success, str(status), "h:8080")


def test_a_url_shows_no_credentials():
    """Neither who logged in, nor what looks like a secret in the query."""
    one = told(span(annotations={"http.url": "https://u:s3cr3t@h/p?api_key=s3cr3t&page=2"}))
    assert one.data == "https://h/p?api_key=***&page=2"
    assert one.target == "h"
    assert "s3cr3t" not in str(one)


SQL = [
    (
        {"annotations": {"db.system": "postgresql", "db.name": "shop", "db.statement": "SELECT 1",
                         "server.address": "db", "server.port": 5432}},
        ("postgresql", "db:5432 | shop", "SELECT 1"),
    ),
    (
        {"metadata": {"namespace": "remote",
                      "sql": {"url": "postgresql://u:s3cr3t@db:5432/shop", "database_type": "PostgreSQL",
                              "sanitized_query": "SELECT 1"}}},
        ("postgresql", "db:5432 | shop", "SELECT 1"),
    ),
    (
        {"annotations": {"db.system.name": "microsoft.sql_server", "db.query.text": "SELECT 1"}},
        ("SQL", "", "SELECT 1"),
    ),
    (
        {"name": "mysql.query", "annotations": {"mysql.query": "SELECT 1", "mysql.cursor.method.name": "x"}},
        ("mysql", "", "SELECT 1"),
    ),
    (
        {"name": "postgresql.query", "annotations": {"db.type": "sql", "db.instance": "shop",
                                                     "db.statement": "SELECT 1"}},
        ("postgresql", "shop", "SELECT 1"),
    ),
    (
        {"name": "sqlalchemy.query", "annotations": {"sqlalchemy.query": "SELECT 1"}},
        ("SQL", "", "SELECT 1"),
    ),
    ({"annotations": {"db.system": "redis", "net.peer.name": "cache"}}, ("redis", "cache", "")),
]  # fmt: skip


@pytest.mark.parametrize(("said", "meant"), SQL)
def test_a_statement_to_a_database(said, meant):
    """Its kind, the server and the database, and the statement; nobody's password."""
    one = told(span(**said))
    assert (one.type, one.target, one.data) == meant
    assert (one.success, one.resultCode) == (True, "0")
    assert "s3cr3t" not in str(one)


def test_a_request_to_aws():
    """The service, the resource or the region, the operation."""
    block = {"operation": "GetItem", "region": "eu-west-1", "table_name": "carts", "request_id": "r"}
    http = {"response": {"status": 400}}
    one = told(span("DynamoDB", metadata={"namespace": "aws", "aws": block, "http": http}))
    assert (one.type, one.target, one.data, one.name) == (
        "AWS DynamoDB", "carts", "GetItem", "DynamoDB GetItem",
    )  # fmt: skip
    assert (one.success, one.resultCode) == (False, "400")
    assert '"request_id":"r"' in one.properties["aws"]


@pytest.mark.parametrize("kind", ["internal", "server", "producer", ""])
def test_a_part_of_the_work_itself(kind):
    """In the process, with what was said of it as properties."""
    one = told(span("load cart", kind, annotations={"items": 3}))
    assert (one.type, one.target, one.name, one.success) == ("InProc", "", "load cart", True)
    assert one.properties == {"items": "3"}


def test_messages_and_remote_procedures():
    """By the system's own name."""
    one = told(
        span("send", annotations={"messaging.system": "kafka", "messaging.destination.name": "orders"})
    )
    assert (one.type, one.target) == ("kafka", "orders")
    one = told(span("call", annotations={"rpc.system": "grpc", "rpc.service": "Shop"}))
    assert (one.type, one.target) == ("grpc", "Shop")


def test_a_call_that_x_ray_flags_failed():
    """Throttled, or at fault, where no exception and no status says so."""
    one = told(span(metadata={"namespace": "remote", "flags": ["throttle"]}))
    assert (one.success, one.properties) == (False, {})


def test_a_span_that_had_not_ended_failed():
    """It lasted as long as its request, and says so."""
    one = told(span("charge", "internal", duration_ms=None))
    assert (one.success, one.resultCode, one.duration) == (False, "unfinished", "0.00:00:00.007000")
    assert one.properties == {"unfinished": "true"}


def test_a_span_with_an_exception_failed():
    """The code is its type."""
    one = told(span("charge", "internal", exception=ExceptionInfo("OutOfStock", "x")))
    assert (one.success, one.resultCode) == (False, "OutOfStock")


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://h:99999/", "not a url", "/relative?token=s3cr3t", "http://[::1]:8080/"]
)
def test_an_odd_url_is_no_error(url):
    """Applications pass on what users give them."""
    assert "s3cr3t" not in str(told(span(annotations={"http.url": url, "http.method": "GET"})))


def test_ids_of_others_are_kept_within_the_service_s_limits():
    """And the same wherever they stand."""
    one = told(span(span_id="z" * 500))
    assert len(one.id) == 128


def test_links_are_linked():
    """As the portal looks for them."""
    one = told(span(metadata={"links": [{"trace_id": "a" * 32, "span_id": "b" * 16}]}))
    assert one.properties == {"_MS.links": '[{"operation_Id":"' + "a" * 32 + '","id":"' + "b" * 16 + '"}]'}


def test_a_trace_is_a_tree_of_requests_dependencies_and_exceptions():
    """What went wrong in a span hangs below it; what ended the request is told once."""
    began = now()
    same, other = (
        ExceptionInfo("KeyError", "x", frames=[Frame("a", 1, "f")]),
        ExceptionInfo("ValueError", "y"),
    )
    spans = [
        span("outer", "internal", span_id="a" * 16, parent_id=f"{1:016x}", start=began, exception=same),
        span(
            "inner",
            span_id="b" * 16,
            parent_id="a" * 16,
            start=began + timedelta(milliseconds=1),
            exception=other,
        ),
    ]
    one = request(1, start=began, outcome="error", status=500, exception=same, spans=spans)
    with Ingestion() as service, exporting(service) as exporter:
        exporter.export([one])
        below = [
            (item["data"]["baseType"], item["tags"]["ai.operation.parentId"]) for item in service.accepted[1:]
        ]
    assert below == [
        ("ExceptionData", f"{1:016x}"),
        ("RemoteDependencyData", f"{1:016x}"),
        ("RemoteDependencyData", "a" * 16),
        ("ExceptionData", "b" * 16),
    ]
