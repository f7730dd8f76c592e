"""Beside AzureExporter: the same requests through both, field by field; each difference is in the table of
docs/application-insights.md, which says why, and everything in the table is a difference."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from azure_kit import exporting
from ingestion import Ingestion
from published import wrong_with

from server_tracing.record import ExceptionInfo, FinishedSpan, Frame, Request

pytest.importorskip("opencensus.ext.azure")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"  # as in opencensus_app.py
HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parents[2] / "docs" / "application-insights.md"
CUSTOM = {"customer": 17}


@pytest.fixture(scope="module")
def theirs() -> list[Any]:
    """What AzureExporter posts for the three requests of opencensus_app.py."""
    with Ingestion() as service:
        command = [sys.executable, str(HERE / "opencensus_app.py"), service.connection_string.rstrip("/")]
        environ = {**os.environ, "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true"}
        subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60)
        return [item for post in service.posts for item in post.items]


@pytest.fixture(scope="module")
def ours(theirs) -> list[Any]:
    """What our exporter posts for the same requests, with the ids and times that theirs have."""
    with Ingestion() as service, exporting(service) as one:
        one.export(list(records(theirs)))
        assert service.rejected == []
        return list(service.accepted)


def records(theirs: list[Any]) -> Iterator[Request]:
    """The requests as our server's door sees them, and the application's spans as they join them."""
    spans = []
    for item in theirs:
        base = item["data"]["baseData"]
        at = datetime.fromisoformat(item["time"].replace("Z", "+00:00"))
        if item["data"]["baseType"] == "RemoteDependencyData":
            spans.append(span(base, at, item["tags"]["ai.operation.parentId"]))
        elif item["data"]["baseType"] == "RequestData":
            yield request(base, at, spans)
            spans = []


def span(base: Any, at: datetime, parent: str) -> FinishedSpan:
    """As the bridge to OpenCensus writes it."""
    said = dict(base["properties"])
    if base.get("data"):
        said |= {
            "http.host": "stock.example",
            "http.method": "GET",
            "http.path": "/v1/items/7",
            "http.url": base["data"],
            "http.status_code": 200,
        }
    name = "[GET]http://stock.example/v1/items/7" if base.get("data") else base["name"]
    kind = "internal" if base["type"] == "INPROC" else "client"
    return FinishedSpan(
        span_id=base["id"],
        parent_id=parent,
        name=name,
        kind=kind,
        start=at,
        duration_ms=0.25,
        annotations=said,
    )


def request(base: Any, at: datetime, spans: list[FinishedSpan]) -> Request:
    status = int(base["responseCode"])
    frames = [Frame("/srv/cart.py", 40, "add")]
    stack = '  File "/srv/cart.py", line 40, in add'
    return Request(
        trace_id=TRACE,
        span_id=base["id"],
        parent_id=PARENT,
        service="shop",
        method="GET",
        scheme="http",
        host="shop.example",
        path="/cart/7",
        query="page=2",
        route=None if status == 404 else "/cart/<int:id>",
        status=status,
        outcome="error" if status == 500 else "ok",
        start=at,
        duration_ms=0.25,
        ttfb_ms=0.125,
        response_bytes=5,
        client_ip="203.0.113.7",
        user_agent="curl/8",
        worker_pid=4711,
        worker_class="sync",
        exception=ExceptionInfo("KeyError", "'teapot'", stack, frames=frames) if status == 500 else None,
        annotations=CUSTOM,
        spans=spans,
    )


# ---------------------------------------------------------------- comparing


def kind_of(item: Any) -> str:
    return item["data"]["baseType"].removesuffix("Data")


def key_of(item: Any) -> tuple[str, str]:
    """What the same thing has in both; an exception belongs to the request of its trace."""
    return kind_of(item), item["data"]["baseData"].get("id", "")


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of an item; of lists the first entry stands for all."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        yield from flat(value[0], f"{path}[]")
    elif value is not None:
        yield path, value


def named(path: str) -> str:
    """A path as people write it."""
    return path.removeprefix("data.baseData.").removeprefix("tags.")


def differing(theirs: Any, ours: Any) -> set[tuple[str, str]]:
    """The fields in which two items for the same thing differ."""
    a, b = dict(flat(theirs)), dict(flat(ours))
    return {(kind_of(ours), named(path)) for path in set(a) | set(b) if a.get(path) != b.get(path)}


def table() -> dict[tuple[str, str], list[str]]:
    """The rows of the document: item and field, then what theirs is, what ours is, and why."""
    text = DOCUMENT.read_text().split("## Field by field", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("| \n"))]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    found = {}
    for items, fields, *rest in rows[1:]:
        for item in KINDS if items == "all" else items.split(", "):
            for field in re.findall(r"`([^`]+)`", fields):
                found[item, field] = rest
    return found


KINDS = ("Request", "RemoteDependency", "Exception")


def test_every_difference_is_explained_and_every_explanation_is_of_a_difference(theirs, ours):
    """Field by field."""
    pairs = {key_of(item): item for item in theirs}
    assert set(pairs) == {key_of(item) for item in ours}
    found = {difference for item in ours for difference in differing(pairs[key_of(item)], item)}
    assert sorted(found - set(table())) == []
    assert sorted(set(table()) - found) == []
    assert all(len(rest) == 3 and all(rest) for rest in table().values())


def test_theirs_is_rejected_where_we_say_so(theirs):
    """Their exceptions never arrive."""
    (exception,) = (item for item in theirs if kind_of(item) == "Exception")
    assert "Field 'parsedStack' is str, expected: array" in wrong_with(exception, 1000, None)


def test_what_identifies_a_request_is_the_same(theirs, ours):
    """Ids, times, names, URLs, codes, custom properties: queries go on finding what they found."""
    pairs = {key_of(item): item for item in theirs}
    for item in ours:
        same = pairs[key_of(item)]
        assert item["tags"]["ai.operation.id"] == same["tags"]["ai.operation.id"]
        if kind_of(item) == "Request":
            assert item["time"] == same["time"]
            mine, their = item["data"]["baseData"], same["data"]["baseData"]
            for field in ("id", "url", "responseCode", "success"):
                assert mine[field] == their[field]
            assert mine["url"] == their["properties"]["request.url"]
