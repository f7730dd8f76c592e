"""What is told of workers: standard metrics of the process that serves, and what happened to it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from azure_kit import exporting, now
from believable import event, exception, vitals
from ingestion import Ingestion

from server_tracing.record import Counts

COUNTS = Counts(requests=120, timed=100, busy_ms=2500.0, exceptions=6)


@pytest.fixture
def service():
    with Ingestion() as service:
        yield service


def told(service: Ingestion) -> dict[str, Any]:
    """The metrics taken, by name: the only data point of each item, which is all the service would store."""
    points = [item["data"]["baseData"]["metrics"] for item in service.of_kind("MetricData")]
    assert {len(point) for point in points} <= {1}
    return {point["name"]: point for (point,) in points}


def test_the_standard_metrics_of_a_worker(service):
    """Under the names that OpenCensus and the portal have for them."""
    one = vitals(
        time=now(),
        rss_bytes=62 << 20,
        cpu_percent=50.0,
        machine_cpu_percent=12.5,
        available_bytes=3 << 30,
        window_ms=60_000.0,
        counts=COUNTS,
    )
    with exporting(service) as azure:
        azure.export([one])
    assert {name: point["value"] for name, point in told(service).items()} == {
        "\\Process(??APP_WIN32_PROC??)\\Private Bytes": 62 << 20,
        "\\Process(??APP_WIN32_PROC??)\\% Processor Time": 50.0 / (os.cpu_count() or 1),
        "\\Processor(_Total)\\% Processor Time": 12.5,
        "\\Memory\\Available Bytes": 3 << 30,
        "\\ASP.NET Applications(??APP_W3SVC_PROC??)\\Requests/Sec": 2.0,
        "\\ASP.NET Applications(??APP_W3SVC_PROC??)\\Request Execution Time": 2500.0,
        "\\.NET CLR Exceptions(??APP_CLR_PROC??)\\# of Exceps Thrown / sec": 0.1,
    }
    item = service.accepted[0]
    assert (item["tags"]["ai.cloud.role"], item["tags"]["ai.cloud.roleInstance"]) == ("shop", "web-1")
    assert item["data"]["baseData"]["properties"] == {"worker": "sync 4711"}
    assert service.rejected == []


def test_the_execution_time_is_a_sum_over_exactly_so_many_requests(service):
    """So that mean and count are right, however many workers and windows are added up."""
    with exporting(service) as azure:
        azure.export([vitals(time=now(), window_ms=60_000.0, counts=COUNTS)])
    point = told(service)["\\ASP.NET Applications(??APP_W3SVC_PROC??)\\Request Execution Time"]
    assert (point["kind"], point["value"], point["count"]) == (1, 2500.0, 100)


def test_what_the_system_does_not_tell_is_not_told(service):
    """No zero stands for `unknown`; a window without requests has no execution time."""
    with exporting(service) as azure:
        azure.export(
            [vitals(time=now(), rss_bytes=None, cpu_percent=None, window_ms=1000.0, counts=Counts())]
        )
    assert sorted(name.rpartition("\\")[2] for name in told(service)) == [
        "# of Exceps Thrown / sec",
        "Requests/Sec",
    ]


@pytest.mark.parametrize(
    ("azure", "fields"),
    [({}, {}), ({"metrics_interval": 0.0}, {"window_ms": 60_000.0, "counts": COUNTS})],
)
def test_vitals_that_close_no_window_are_no_metrics(service, azure, fields):
    """Nor any, where they are switched off."""
    with exporting(service, **azure) as one:
        one.export([vitals(time=now(), **fields)])
    assert service.posts == []


def test_what_happens_to_a_worker_is_a_line_of_its_log(service):
    """A boot is information, a loss a warning; a start-up that failed has its exception, too."""
    with exporting(service) as azure:
        azure.export(
            [
                event(time=now(), what="boot", detail="gunicorn 27.0.1 sync"),
                event(time=now(), what="loss", detail="azure: 3 requests dropped"),
                event(time=now(), what="lifespan startup", exception=exception()),
            ]
        )
    lines = [item["data"]["baseData"] for item in service.of_kind("MessageData")]
    assert [(line["message"], line["severityLevel"]) for line in lines] == [
        ("boot: gunicorn 27.0.1 sync", 1),
        ("loss: azure: 3 requests dropped", 2),
        ("lifespan startup", 2),
    ]
    (failure,) = service.of_kind("ExceptionData")
    assert failure["data"]["baseData"]["exceptions"][0]["typeName"] == "OutOfStock"
    assert service.rejected == []
