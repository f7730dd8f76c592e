"""The X-Ray SDK and OpenCensus in applications, on every server: what they tell enters its own request."""

from __future__ import annotations

import subprocess
from functools import cache

import pytest
from harness import PYTHON, REPOSITORY, Server, body_of, get, start
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


@pytest.mark.parametrize("kind", ["gthread", "gevent", "uvicorn"])
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
