"""Application Insights behind real servers: what the clients saw arrives, from forks and through kills."""

from __future__ import annotations

import signal
import threading

import pytest
from harness import get, start, status_of, wait_until
from ingestion import Answer, Ingestion
from test_gunicorn import installed
from uvicorn_support import has_protocol_door

EXECUTION_TIME = "\\ASP.NET Applications(??APP_W3SVC_PROC??)\\Request Execution Time"


@pytest.fixture
def service():
    with Ingestion() as service:
        yield service


@pytest.fixture
def run(service):
    """Starts a server whose exporter sends to the stand-in."""
    environ = {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": service.connection_string,
        "SERVER_TRACING_EXPORTERS": "azure",
        "SERVER_TRACING_SERVICE": "shop",
        "NO_PROXY": "127.0.0.1",
    }

    def run(*argv, **extra):
        return start(argv, {**environ, **extra})

    return run


GUNICORN = ("gunicorn", "-c", "python:server_tracing.gunicorn", "-w", "2")
SERVERS = {
    "sync": (*GUNICORN, "-k", "sync", "wsgi_app:app"),
    "gevent": (*GUNICORN, "-k", "gevent", "wsgi_app:app"),
    "uvicorn_worker": (*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", "asgi_app:app"),
    "uvicorn": ("uvicorn", "--http", "server_tracing.uvicorn:Protocol", "asgi_app:app"),
}


def requests(service):
    """The requests taken, by the path of their URL."""
    return {data["url"].partition("test")[2]: data for data in service.requests() if "url" in data}


@pytest.mark.parametrize("server", SERVERS)
def test_what_the_clients_saw_arrives(run, service, server):
    """Answered, failed, refused: from every kind of worker, valid in every field, named after the service."""
    if not (has_protocol_door() if server == "uvicorn" else installed(server)):
        pytest.skip("not installed")
    with run(*SERVERS[server]) as running:
        assert status_of(running.talk(get("/hello?a=1", "User-Agent: curl/8"))) == 200
        assert status_of(running.talk(get("/boom"))) == 500
        assert status_of(running.talk(b"GET /x HTTP/1.1\r\nHost: test\r\nBad Header: x\r\n\r\n")) == 400
        service.wait_for(lambda: len(service.requests()) >= 3)
    found = requests(service)
    assert (found["/hello?a=1"]["responseCode"], found["/hello?a=1"]["success"]) == ("200", True)
    assert (found["/boom"]["responseCode"], found["/boom"]["success"]) == ("500", False)
    (refused,) = (data for data in service.requests() if data["responseCode"] == "400")
    assert refused["properties"]["outcome"] == "rejected"
    (exception,) = service.of_kind("ExceptionData")
    assert exception["tags"]["ai.operation.parentId"] == found["/boom"]["id"]
    names = [one["typeName"] for one in exception["data"]["baseData"]["exceptions"]]
    assert names == ["ValueError", "KeyError"]
    assert {item["tags"]["ai.cloud.role"] for item in service.accepted} == {"shop"}
    assert service.rejected == []


def test_a_killed_workers_requests_arrive_as_failed_ones_that_say_why(run, service):
    """Delivered by the one that lives on."""
    with run(*SERVERS["sync"]) as running:
        running.talk(get("/die"))
        service.wait_for(lambda: requests(service).get("/die"))
    data = requests(service)["/die"]
    assert (data["responseCode"], data["success"]) == ("killed", False)
    assert data["properties"]["outcome"] == "killed"
    assert data["properties"]["reason"] == "signal 9"


def served(service) -> int:
    """The requests that the metrics tell of."""
    points = [item["data"]["baseData"]["metrics"][0] for item in service.of_kind("MetricData")]
    return sum(point["count"] for point in points if point["name"] == EXECUTION_TIME)


def test_the_metrics_count_every_request_at_any_sampling_rate(run, service):
    """Whatever is sampled, and whether a worker ends or is killed: the counts are exact."""
    sampling = {"SERVER_TRACING_SAMPLING_RATE": "0.2", "SERVER_TRACING_SAMPLING_KEEP_ERRORS": "false"}
    with run(*SERVERS["sync"], **sampling) as running:
        for _ in range(60):
            assert status_of(running.talk(get("/hello"))) == 200
        running.talk(get("/die"))
        service.wait_for(lambda: served(service) > 0)  # the dead worker's, told by its heir
        assert running.stop() == 0
    service.wait_for(lambda: served(service) >= 61)
    assert served(service) == 61
    assert 0 < len(service.requests()) < 45
    assert {item["sampleRate"] for item in service.of_kind("RequestData")} == {20.0}
    names = {item["data"]["baseData"]["metrics"][0]["name"] for item in service.of_kind("MetricData")}
    assert {name for name in names if "Private Bytes" in name or "Available Bytes" in name}


def test_a_service_that_hangs_holds_nobody_up_and_loses_nothing(run, service, tmp_path):
    """Requests are answered, the server ends in time, and the next one delivers what was left."""
    gate = threading.Event()
    service.always = Answer(503, gate=gate)
    state = {"SERVER_TRACING_DIR": str(tmp_path / "state")}
    with run(*SERVERS["sync"], **state) as running:
        for _ in range(20):
            assert status_of(running.talk(get("/hello"), timeout=5.0)) == 200
        wait_until(lambda: service.posts)
        running.stop(signal.SIGTERM, timeout=12.0)
    gate.set()
    service.always = None
    with run(*SERVERS["sync"], **state):
        service.wait_for(lambda: len(service.requests()) >= 20, 60.0)
    assert len({data["id"] for data in service.requests()}) == len(service.requests()) == 20
