"""Telemetry processors: what worked with OpenCensus' AzureExporter works here."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from azure_kit import exporting, now, request
from believable import failed, spans, vitals
from ingestion import Ingestion

from server_tracing.export.exporter import ExportError
from server_tracing.record import Counts

pytest.importorskip("opencensus.ext.azure")


@pytest.fixture
def service():
    with Ingestion() as service:
        yield service


@pytest.fixture
def telemetry(monkeypatch):
    """A module of the application's."""
    module = ModuleType("shop_telemetry")
    monkeypatch.setitem(sys.modules, "shop_telemetry", module)
    return module


def test_envelopes_are_changed_by_attribute_and_by_key(service, telemetry):
    """The forms of the vendor's documentation."""

    def change(envelope):
        envelope.tags["ai.cloud.role"] = "renamed"
        if envelope.data.baseType == "RequestData":
            envelope.data.baseData.properties["tenant"] = 7
            envelope.data.baseData["url"] = None
            envelope.data.baseData.name = envelope.data.baseData.name.upper()
        return True

    telemetry.change = change
    with exporting(service, processors=("shop_telemetry:change",)) as one:
        one.export([failed(start=now(), spans=spans(now()))])
    assert {item["tags"]["ai.cloud.role"] for item in service.accepted} == {"renamed"}
    (data,) = service.requests()
    assert (data["properties"]["tenant"], data.get("url"), data["name"]) == ("7", None, "POST /CART")
    assert len(service.accepted) == 5


def test_false_drops_an_envelope_and_nothing_else(service):
    """A request that is dropped is counted; None and other false values keep it."""
    kept = {1: None, 2: True, 3: False, 4: 0}
    processor = lambda envelope: kept[int(envelope.data.baseData.id)]  # noqa: E731
    with exporting(service, processors=(processor,)) as one, pytest.raises(ExportError) as caught:
        one.export([request(number) for number in kept])
    assert caught.value.refused == {"processor": 1}
    assert not caught.value.remaining
    assert [int(data["id"]) for data in service.requests()] == [1, 2, 4]


def test_a_request_that_is_dropped_takes_what_hangs_below_it_along(service):
    """An exception without its request leads nowhere."""
    only_requests = lambda envelope: envelope.data.baseType != "RequestData"  # noqa: E731
    with exporting(service, processors=(only_requests,)) as one, pytest.raises(ExportError):
        one.export([failed(start=now(), spans=spans(now()))])
    assert service.posts == []


def test_what_hangs_below_a_request_can_be_dropped_alone(service):
    """No dependencies, for instance."""
    no_dependencies = lambda envelope: envelope.data.baseType != "RemoteDependencyData"  # noqa: E731
    with exporting(service, processors=(no_dependencies,)) as one:
        one.export([failed(start=now(), spans=spans(now()))])
    assert service.kinds() == ["RequestData", "ExceptionData"]


def test_one_metric_can_be_dropped_alone(service):
    """The others of that worker are none the worse."""
    no_memory = lambda envelope: "Bytes" not in envelope.data.baseData.metrics[0]["name"]  # noqa: E731
    with exporting(service, processors=(no_memory,)) as one:
        one.export([vitals(time=now(), window_ms=1000.0, counts=Counts(1, 1, 1.0, 0))])
    names = [item["data"]["baseData"]["metrics"][0]["name"] for item in service.accepted]
    assert len(names) == 4
    assert not [name for name in names if "Bytes" in name]


def test_they_run_in_order_until_one_drops(service):
    """As they were added."""
    ran = []
    first = lambda envelope: ran.append(1)  # noqa: E731
    second = lambda envelope: ran.append(2) or False  # noqa: E731
    third = lambda envelope: ran.append(3)  # noqa: E731
    with exporting(service, processors=(first, second, third)) as one, pytest.raises(ExportError):
        one.export([request()])
    assert ran == [1, 2]


def test_one_that_raises_is_passed_over(service, caplog):
    """The item is sent as it was."""

    def broken(envelope):
        raise KeyError("x")

    with exporting(service, processors=(broken,)) as one:
        one.export([request()])
    assert len(service.requests()) == 1
    assert "Telemetry processor failed" in caplog.text


def test_what_they_leave_is_valid_whatever_they_put_there(service):
    """Too long, not text, not JSON: nothing is rejected for it."""

    def fill(envelope):
        base = envelope.data.baseData
        base.properties.update({"x" * 500: "y" * 20_000, "object": object(), "n": 1.5, "half": "\ud800"})
        base.name = "n" * 5000
        envelope.tags.update({"ai.user.id": "u" * 500, "ai.session.id": "s" * 500, "ai.location.ip": ""})

    with exporting(service, processors=(fill,)) as one:
        one.export([request()])
    assert service.rejected == []
    assert len(service.requests()) == 1


def test_properties_that_are_none_are_none(service):
    """Whatever a processor puts in their place."""

    def spoil(envelope):
        envelope.data.baseData.properties = 7

    with exporting(service, processors=(spoil,)) as one:
        one.export([request()])
    assert service.requests()[0]["properties"] == {}


def test_without_the_extra_the_sentence_names_it(service, monkeypatch):
    """The records wait until it is installed."""
    monkeypatch.setitem(sys.modules, "opencensus.ext.azure.common.processor", None)
    with exporting(service, processors=(print,)) as one, pytest.raises(ExportError) as caught:
        one.export([request()])
    assert str(caught.value).startswith("telemetry processors need server-tracing[azure]: ")
    assert not caught.value.permanent


@pytest.mark.parametrize("name", ["no_such_module:f", "shop_telemetry:missing", "shop_telemetry:__name__"])
def test_nothing_is_sent_past_a_processor_that_is_not_there(service, telemetry, name):
    """It may be the one that hides what must not leave: the records wait, and a sentence says for what."""
    with exporting(service, processors=(name,)) as one, pytest.raises(ExportError) as caught:
        one.export([request()])
    assert name in str(caught.value)
    assert not caught.value.permanent
    assert service.posts == []
