"""The stand-in's own eyes: it finds what the service would, in items that are otherwise valid."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from azure_kit import exporting, now
from believable import failed, spans
from ingestion import Ingestion
from published import LARGEST, wrong_with


@pytest.fixture(scope="module")
def valid() -> dict[str, Any]:
    """A request, its exception and a dependency, as the exporter sends them, by their types."""
    with Ingestion() as service, exporting(service) as one:
        one.export([failed(start=now(), parent_id="c" * 16, sample_rate=0.5, spans=spans(now())[:1])])
    return {item["data"]["baseType"]: item for item in service.accepted}


def put(item: Any, path: str, value: Any) -> None:
    *above, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in above:
        item = item[part]
    item[last] = value


REQUEST, EXCEPTION, DEPENDENCY = "RequestData", "ExceptionData", "RemoteDependencyData"
BASE = "data/baseData"
FIRST, IN_CHAIN = f"{BASE}/exceptions/0", "106: Field 'exceptions'"
WRONG = [
    (REQUEST, "name", "Microsoft.ApplicationInsights.Event", "105: Field 'baseType'"),
    (REQUEST, "iKey", "abc", "102: Field 'iKey' is no GUID"),
    (REQUEST, "sampleRate", 0, "102: Field 'sampleRate' is 0"),
    (REQUEST, "sampleRate", 101.0, "102: Field 'sampleRate' is 101.0"),
    (REQUEST, "time", "2026-01-01T00:00:00", "103: Field 'time'"),
    (REQUEST, "tags/ai.location.ip", "x" * 46, "104: Field 'tags' 'ai.location.ip' has 46 characters"),
    (REQUEST, "tags/ai.cloud.role", "", "104: Field 'tags' 'ai.cloud.role' is empty"),
    (REQUEST, "tags/ai.typo", "x", "104: Field 'tags' 'ai.typo' is not known"),
    (REQUEST, "data/baseType", "EventData", "105: Field 'baseType'"),
    (REQUEST, f"{BASE}/ver", 1, "106: Field 'ver' is 1"),
    (REQUEST, f"{BASE}/id", None, "106: Field 'id' is required"),
    (REQUEST, f"{BASE}/url", "😀" * 1025, "106: Field 'url' has 2050 characters"),
    (REQUEST, f"{BASE}/duration", "1:00", "106: Field 'duration' is '1:00'"),
    (REQUEST, f"{BASE}/duration", "1000.00:00:00", "106: Field 'duration'"),
    (REQUEST, f"{BASE}/responseCode", 200, "106: Field 'responseCode' is int"),
    (REQUEST, f"{BASE}/success", "true", "106: Field 'success' is 'true'"),
    (REQUEST, f"{BASE}/properties/{'k' * 151}", "v", "106: Field 'properties' has the key"),
    (REQUEST, f"{BASE}/properties/k", 7, "106: Field 'properties' ['k'] is int"),
    (REQUEST, f"{BASE}/properties/k", "v" * 8193, "106: Field 'properties' ['k'] has 8193 characters"),
    (REQUEST, f"{BASE}/measurements/ttfb_ms", float("nan"), "106: Field 'measurements' ['ttfb_ms'] is no"),
    (REQUEST, f"{BASE}/tpyo", 1, "106: Field 'tpyo' is not known"),
    (EXCEPTION, f"{BASE}/exceptions", [], "106: Field 'exceptions' is empty"),
    (EXCEPTION, f"{FIRST}/parsedStack", "text", f"{IN_CHAIN} Field 'parsedStack' is str, expected: array"),
    (EXCEPTION, f"{FIRST}/outerId", "0", f"{IN_CHAIN} Field 'outerId' is '0'"),
    (EXCEPTION, f"{FIRST}/parsedStack/0/line", 1.5, f"{IN_CHAIN} Field 'parsedStack' Field 'line' is 1.5"),
    (EXCEPTION, f"{BASE}/severityLevel", 5, "106: Field 'severityLevel' is 5"),
    (DEPENDENCY, f"{BASE}/data", "x" * 8193, "106: Field 'data' has 8193 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "path", "value", "complaint"), WRONG)
def test_every_rule_finds_its_fault(valid, kind, path, value, complaint):
    """One wrong field is enough."""
    assert wrong_with(valid[kind], 1000, now()) == ""
    item = copy.deepcopy(valid[kind])
    put(item, path, value)
    assert wrong_with(item, 1000, now()).startswith(complaint)


def test_size_and_age_are_looked_at_too(valid):
    """64 KiB, 48 hours back and two ahead."""
    item = valid[REQUEST]
    assert wrong_with(item, LARGEST + 1, now()).startswith("101: ")
    assert "older" in wrong_with(item, 1000, now() + timedelta(hours=49))
    assert "newer" in wrong_with(item, 1000, now() - timedelta(hours=3))
    assert wrong_with(item, 1000, None) == ""
    assert wrong_with([], 2, None) == "100: the item is no object"
