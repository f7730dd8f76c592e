"""A Django project on its way from the X-Ray SDK and OpenCensus: both installed, or only their settings."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
from functools import cache

import pytest
from harness import APPS, PYTHON, REPOSITORY, environment, get, start, status_of

ARGV = ["gunicorn", "-c", "python:server_tracing.gunicorn", "-k", "sync", "migrated_django:application"]
BOTH = {"SERVER_TRACING_EXPORTERS": "local,xray,azure"}


@cache
def has_libraries() -> bool:
    """Whether the interpreter under test has all of them."""
    wanted = "import aws_xray_sdk.core, opencensus.ext.django, opencensus.ext.azure, django"
    return subprocess.run([PYTHON, "-c", wanted], capture_output=True, check=False).returncode == 0


@pytest.fixture(params=[{}, {"TEST_WITHOUT": "1"}], ids=["both installed", "only their settings"])
def served(request):
    """The project behind gunicorn, and the socket where segments are sent to."""
    if not has_libraries():
        pytest.skip("not all of the libraries")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.setblocking(False)
        env = {**BOTH, **request.param, "TEST_DAEMON": f"127.0.0.1:{daemon.getsockname()[1]}"}
        with start(ARGV, env) as server:
            server.installed = not request.param
            server.daemon = daemon
            yield server


def sent_to(daemon):
    """The segments that have arrived."""
    documents = []
    with contextlib.suppress(BlockingIOError):
        while True:
            documents.append(json.loads(daemon.recv(65536).partition(b"\n")[2]))
    return documents


def visit(server, path, host="shop"):
    """An answer."""
    return server.talk(get(path).replace(b"Host: test", b"Host: " + host.encode()))


def test_one_request_is_one_record(served):
    """With the spans of the database and the template, whoever tells of them; none is sent by the SDK."""
    answer = visit(served, "/ok/one")
    assert status_of(answer) == 200, answer
    (record,) = served.records(1)
    assert record["service"] == "My shop"
    assert "annotations" not in record
    roots = {span["name"] for span in record["spans"] if span["parent_id"] == record["span_id"]}
    assert len(record["spans"]) >= 2
    assert any(span["metadata"].get("sql") for span in record["spans"] if "metadata" in span)
    assert not roots & {"My shop", "span", "migrated_django.ok"}
    if served.installed:
        assert "sqlite.query" in {span["name"] for span in record["spans"]}
        root = f"1-{record['trace_id'][:8]}-{record['trace_id'][8:]}"
        assert f"X-Amzn-Trace-Id: Root={root}".encode() in answer
    served.stop()
    assert [document["id"] for document in sent_to(served.daemon)] == [record["span_id"]]


def test_what_goes_wrong_stays_in_its_request(served):
    """An exception, and a host that the framework refuses in the middle of a middleware."""
    assert status_of(visit(served, "/fail")) == 500
    assert status_of(visit(served, "/ok/bad", "evil")) == (400 if served.installed else 200)
    assert status_of(visit(served, "/ok/good")) == 200
    failed, refused, good = sorted(served.records(3), key=lambda record: record["start"])
    assert (failed["status"], failed["exception"]["type"]) == (500, "KeyError")
    assert refused["status"] == (400 if served.installed else 200)
    assert len({record["trace_id"] for record in (failed, refused, good)}) == 3
    names = {span["span_id"] for span in good["spans"]} | {good["span_id"]}
    assert {span["parent_id"] for span in good["spans"]} <= names


def test_a_line_says_that_the_middleware_can_go(served):
    """One for each, once."""
    for name in ("one", "two"):
        visit(served, f"/ok/{name}")
    served.records(2)
    said = re.findall(r"(\S+) begins a (?:segment|span) for each request\. It can go", served.log())
    assert sorted(said) == (
        ["aws_xray_sdk.ext.django.middleware", "opencensus.ext.django.middleware"] if served.installed else []
    )


def test_nothing_in_the_settings_is_run(served):
    """One sentence says so."""
    visit(served, "/ok/one")
    refused = [line for line in served.log().splitlines() if "OPENCENSUS['TRACE']['PROPAGATOR']" in line]
    if not served.installed:  # else OpenCensus itself runs them
        assert len(refused) == 1
        assert refused[0].endswith("print('never') or a.B() in it is not evaluated; set propagation.")
        assert "\nnever" not in served.log()


def test_paths_that_were_excluded_still_are(served):
    """By OpenCensus' rule: everything that begins so."""
    visit(served, "/healthz")
    visit(served, "/ok/one")
    assert [record["path"] for record in served.records(1)] == ["/ok/one"]


def shown(*options, **env):
    """The rows of `server-tracing config`, by setting."""
    if not has_libraries():
        pytest.skip("not all of the libraries")
    done = subprocess.run(
        [PYTHON, "-m", "server_tracing.cli", "config", "--json", *options],
        env={**environment(BOTH), "PYTHONPATH": str(REPOSITORY), **env},
        cwd=APPS,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = map(json.loads, done.stdout.splitlines())
    return {row["setting"]: (row["value"], row["source"]) for row in rows}


@pytest.mark.parametrize("way", ["--app", "variable"])
def test_config_lists_what_became_of_each_entry(way):
    """Of the application that is named, or of the settings that the environment names."""
    if way == "--app":
        rows = shown("--app", "migrated_django:application", TEST_WITHOUT="1")
    else:
        rows = shown(DJANGO_SETTINGS_MODULE="migrated_django", TEST_WITHOUT="1")
    assert rows["service"] == ("My shop", "Django settings, XRAY_RECORDER['AWS_XRAY_TRACING_NAME']")
    assert rows["exclude"] == ("health", "Django settings, OPENCENSUS['TRACE']['EXCLUDELIST_PATHS']")
    assert rows["azure.connection_string"] == ("***", "Django settings, OPENCENSUS['TRACE']['EXPORTER']")
    assert rows["xray.sampling"] == ("ratio", "Django settings, XRAY_RECORDER['SAMPLING']")
    assert rows["XRAY_RECORDER['SAMPLING']"] == ("read as xray.sampling, sampling.rate", "Django settings")
    assert rows["XRAY_RECORDER['MAX_TRACE_BACK']"][0].startswith("ignored: ")
    assert rows["OPENCENSUS['TRACE']['PROPAGATOR']"][0].endswith("; set propagation")
