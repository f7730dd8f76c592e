"""The X-Ray SDK and OpenCensus in applications, on every server: what they tell enters its own request."""

from __future__ import annotations

import subprocess
import threading
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from harness import PYTHON, REPOSITORY, Server, body_of, get, start, status_of
from test_inside import GUNICORN, SERVERS, VISITS, command, crowd, installed

KINDS = [kind for kind in SERVERS if kind != "tornado" and not kind.startswith("any")]
NOWHERE = "InstrumentationKey=12345678-1234-1234-1234-123456789abc;IngestionEndpoint=http://127.0.0.1:9"
BACKENDS = {
    "SERVER_TRACING_EXPORTERS": "local,xray,azure",
    "SERVER_TRACING_AZURE_CONNECTION_STRING": NOWHERE,
    "SERVER_TRACING_XRAY_DAEMON_ADDRESS": "127.0.0.1:9",
}
PATCHED = {"SERVER_TRACING_XRAY_PATCH": "sqlite3"}


@cache
def has_libraries() -> bool:
    """Whether the interpreter under test has both."""
    asked = subprocess.run(
        [PYTHON, "-c", "import aws_xray_sdk.core, opencensus.trace.tracer"], capture_output=True, check=False
    )
    return asked.returncode == 0


def served(kind: str, **env: str) -> Server:
    """A server of this kind, serving."""
    if not installed(kind) or not has_libraries():
        pytest.skip(f"{kind} or the libraries are not installed")
    argv = [word.replace("inside_app", "bridged_app") for word in command(kind)]
    return start(argv, {"SERVER_TRACING_APP": "bridged_app:asgi", **env})


def parents(record):
    """Names of spans by the names of their parents, without the visit's; `""` is the request."""
    names = {record["span_id"]: "", **{each["span_id"]: each["name"] for each in record["spans"]}}
    name = record["annotations"]["xray"]
    return {
        each["name"].removesuffix(f" {name}"): names[each["parent_id"]].removesuffix(f" {name}")
        for each in record["spans"]
    }


SYNC = {"outer": "", "inner": "outer", ":memory:": "inner", "thread": "outer", "within": "thread"}
ASYNC = {**SYNC, "task": "outer", "in task": "task"}


@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_interleaved_requests_keep_to_themselves(kind):
    """Spans of both libraries, in each other, in tasks and in threads; patched from outside."""
    with served(kind, **BACKENDS, **PATCHED) as server:
        answers = crowd(server.port)
        server.records(VISITS)
        server.stop()
        records = server.records(VISITS)
        log = server.log()
    assert len(records) == VISITS
    for record in records:
        name = record["path"].rpartition("/")[2]
        assert answers[name]["seen"] == [record["trace_id"]]
        assert record["annotations"] == {"xray": name, "opencensus": name}
        assert record["user"] == name
        assert parents(record) == (SYNC if kind in GUNICORN and "wsgi" in GUNICORN[kind][0] else ASYNC)
        assert len({span["span_id"] for span in record["spans"]}) == len(record["spans"])
        assert all("duration_ms" in span for span in record["spans"])
    assert "cannot find the current segment" not in log


@pytest.mark.parametrize("kind", ["gthread", "uvicorn"])
def test_libraries_may_be_imported_in_the_middle_of_a_request(kind):
    """The requests that are open then are found, and followed from there."""
    with served(kind, **BACKENDS, TEST_LAZY="1") as server:
        answers = crowd(server.port)
        records = server.records(VISITS)
    for record in records:
        name = record["path"].rpartition("/")[2]
        assert answers[name]["seen"] == [record["trace_id"]]
        assert record["annotations"] == {"xray": name, "opencensus": name}
        assert {f"outer {name}", f"inner {name}", f"thread {name}"} <= {
            each["name"] for each in record["spans"]
        }


@pytest.mark.parametrize("early", [["--preload"], ["gunicorn.conf"]], ids=["preloaded", "own configuration"])
def test_libraries_are_instrumented_before_the_application_is_imported(early, tmp_path):
    """Also where the master imports it, and where the door is two lines of a configuration file."""
    if not has_libraries():
        pytest.skip("no X-Ray SDK")
    argv = ["gunicorn", "-c", "python:server_tracing.gunicorn", *early, "bridged_app:wsgi"]
    if "--preload" not in early:
        conf = tmp_path / "conf.py"
        conf.write_text(
            "from server_tracing.gunicorn import install\n"
            'install(globals(), xray={"patch": ["sqlite3", "no_such_module"]})\n'
        )
        argv = ["gunicorn", "-c", str(conf), "bridged_app:wsgi"]
    env = {"SERVER_TRACING_XRAY_PATCH": "sqlite3,no_such_module"} if "--preload" in early else {}
    with start(argv, {**BACKENDS, **env}) as server:
        server.talk(get("/visit/one"))
        (record,) = server.records(1)
        assert parents(record) == SYNC
        assert server.log().count("xray.patch names no_such_module, which cannot be instrumented") == 1


UNINTERESTED = """
import sys
def wsgi(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [repr([name for name in sys.modules if name.startswith(("aws_xray_sdk", "opencensus"))
                  or name.startswith("server_tracing.inside.")]).encode()]
"""


def test_who_uses_neither_pays_for_nothing():
    """With both backends on: no library is imported, and nothing is hooked."""
    files = {"uninterested.py": UNINTERESTED}
    argv = ["gunicorn", "-c", "python:server_tracing.gunicorn", "uninterested:wsgi"]
    with start(argv, {**BACKENDS, "PYTHONPATH": f"{REPOSITORY}:{{root}}"}, files=files) as server:
        assert (
            body_of(server.talk(get("/")))
            == b"['server_tracing.inside.opening', 'server_tracing.inside.arrivals']"
        )


@pytest.mark.parametrize("exporters", ["azure", "local,azure"])
def test_a_connection_string_that_nobody_knows_is_one_sentence(exporters):
    """The application might have known it; the rest works, and so does the application."""
    argv = ["gunicorn", "-c", "python:server_tracing.gunicorn", "uninterested:wsgi"]
    env = {"SERVER_TRACING_EXPORTERS": exporters, "PYTHONPATH": f"{REPOSITORY}:{{root}}"}
    with start(argv, env, files={"uninterested.py": UNINTERESTED}) as server:
        assert status_of(server.talk(get("/"))) == 200
        said = [line for line in server.log().splitlines() if "azure.connection_string is not set" in line]
        assert len(said) == 1
        assert said[0].endswith("The exporter is left out.")
        assert "Traceback" not in server.log()
        if exporters != "azure":
            server.records(1)


@contextmanager
def service():
    """Another service: its port, and the headers that its callers sent."""
    heard: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(dict(self.headers))
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *said):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, heard
        server.shutdown()


CALLS = {
    "X-Ray: requests": ({"SERVER_TRACING_XRAY_PATCH": "requests"}, "requests"),
    "X-Ray: httplib": ({"SERVER_TRACING_XRAY_PATCH": "httplib"}, "urllib"),
    "OpenCensus: requests": ({"SERVER_TRACING_AZURE_INTEGRATIONS": "requests"}, "requests"),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls_of_instrumented_clients_carry_the_trace_on(case):
    """From the span of the call, which says what was called and what was answered; our own exporters' calls,
    by the same libraries, are none of the application's."""
    if not has_libraries():
        pytest.skip("the libraries are not installed")
    env, client = CALLS[case]
    argv = ["gunicorn", "-c", "python:server_tracing.gunicorn", "calling_app:wsgi"]
    with service() as (port, heard), start(argv, {**BACKENDS, **env}) as server:
        assert body_of(server.talk(get(f"/{client}/{port}"))) == b"called"
        (record,) = server.records(1)
        server.stop()
        log = server.log()
    spans = record["spans"]
    assert {span["kind"] for span in spans} == {"client"}
    sent = {name.lower(): value for name, value in heard[0].items()}
    if case.startswith("X-Ray"):
        called = spans[0]["metadata"]["http"]["request"]["url"]
        assert called in (
            f"http://127.0.0.1:{port}/stock",
            "http://127.0.0.1/stock",
        )  # of httplib it has no port
        if client == "requests":  # to http.client's callers the SDK adds nothing outside of a subsegment
            root = f"1-{record['trace_id'][:8]}-{record['trace_id'][8:]}"
            assert sent["x-amzn-trace-id"].startswith(f"Root={root};Parent={spans[0]['span_id']};Sampled=")
    else:
        assert sent["traceparent"].split("-")[1:3] == [record["trace_id"], spans[0]["span_id"]]
        assert spans[0]["annotations"]["http.status_code"] == 503
        assert spans[0]["annotations"]["http.url"] == f"http://127.0.0.1:{port}/stock?token=***"
    assert "cannot find the current segment" not in log
