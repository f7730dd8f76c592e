"""X-Ray's rules in the workers of real servers: each fetches them from the daemon before anybody asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import Server, get, start, wait_until
from sampling_service import DEFAULT_RULE, SamplingService, serving
from standin_daemon import Daemon

RULES = "/GetSamplingRules"
NOTHING = {**DEFAULT_RULE, "FixedRate": 0.0, "ReservoirSize": 0}
HELLO = {**NOTHING, "RuleName": "hello", "Priority": 1, "URLPath": "/hello*", "FixedRate": 1.0}
GUNICORN = ["gunicorn", "-c", "python:server_tracing.gunicorn", "--workers", "2", "-k"]
SERVERS = {
    "sync": [*GUNICORN, "sync", "wsgi_app:app"],
    "preloaded": [*GUNICORN, "gthread", "--threads", "2", "--preload", "wsgi_app:app"],
    "gevent": [*GUNICORN, "gevent", "wsgi_app:app"],
    "uvicorn": ["uvicorn", "--factory", "server_tracing.uvicorn:create_app", "--workers", "2"],
}
ENVIRON = {
    "SERVER_TRACING_EXPORTERS": "local,xray",
    "SERVER_TRACING_SAMPLING_KEEP_ERRORS": "off",
    "SERVER_TRACING_RESPONSE_HEADER": "1",
    "SERVER_TRACING_APP": "asgi_app:app",
}
ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793"


def environ(tcp: int, daemon: Daemon) -> dict[str, str]:
    """A daemon whose two doors are in two places."""
    return {**ENVIRON, "AWS_XRAY_DAEMON_ADDRESS": f"tcp:127.0.0.1:{tcp} udp:{daemon.address}"}


def says(server: Server, path: str) -> bool:
    """What the response to somebody who asks says of the decision."""
    answer = server.talk(get(path, f"X-Amzn-Trace-Id: {ROOT};Sampled=?"))
    return f"{ROOT};Sampled=1".encode() in answer


@pytest.fixture
def service() -> Iterator[SamplingService]:
    made = SamplingService()
    made.rules = [HELLO, NOTHING]
    with serving(made):
        yield made


@pytest.mark.parametrize("kind", SERVERS)
def test_every_worker_fetches_the_rules_and_keeps_to_them(kind: str, service: SamplingService) -> None:
    """From its start on, and once; the response to who asks says what they say."""
    if kind == "gevent":
        pytest.importorskip("gevent")
    with Daemon() as daemon, start(SERVERS[kind], environ(service.port, daemon)) as server:
        wait_until(lambda: len(service.called(RULES)) >= 2)
        wait_until(lambda: all(says(server, "/hello") for _ in range(6)))
        assert [says(server, "/hello/again") for _ in range(6)] == [True] * 6
        server.stop()
        everything = server.records(12)
        records = [record for record in everything if record["path"] == "/hello/again"]
        rules = {one["id"]: one["aws"]["xray"]["sampling_rule_name"] for one in daemon.settled()}
    assert [record["kept_because"] for record in records] == ["rule:hello"] * 6
    assert [rules[record["span_id"]] for record in records] == ["hello"] * 6
    assert len(service.called(RULES)) == 2
    decided = [record for record in everything if record["kept_because"] == "rule:hello"]
    reported = [one["RequestCount"] for one in service.statistics() if one["RuleName"] == "hello"]
    assert sum(reported) == len(decided)  # also those of the last seconds of a worker


def test_without_rules_the_default_decides() -> None:
    """One sentence says so, and no request notices."""
    command = ["gunicorn", "-c", "python:server_tracing.gunicorn", "wsgi_app:app"]
    with Daemon() as daemon, start(command, environ(1, daemon)) as server:
        server.wait_for_log("No sampling rules from the X-Ray daemon at 127.0.0.1:1: Connection refused")
        server.talk(get("/hello"))
        (record,) = server.records(1)
        log = server.log()
    assert record["kept_because"] == "rule:default"
    assert log.count("No sampling rules") == 1
    assert "Traceback" not in log
