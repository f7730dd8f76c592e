"""The request in hand, on every server: whatever an application says enters its own request's record."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from http.client import HTTPConnection
from typing import Any

import pytest
from harness import BIND, PYTHON, REPOSITORY, Server, body_of, get, start

VISITS, CLIENTS = 200, 16
DOOR = ["-c", "python:server_tracing.gunicorn", "--keep-alive", "30"]
GUNICORN = {
    "sync": ("inside_app:wsgi", []),
    "gthread": ("inside_app:wsgi", ["--threads", "8"]),
    "gevent": ("inside_app:wsgi", []),
    "tornado": ("inside_app:wsgi", []),
    "asgi": ("inside_app:asgi", []),
    "uvicorn_worker.UvicornWorker": ("inside_app:asgi", []),
}
SERVERS = [*GUNICORN, "uvicorn", "any WSGI server", "any ASGI server"]
THREADS, TASKS = {"outer", "inner", "thread"}, {"outer", "inner", "thread", "task 1", "task 2"}


@cache
def installed(kind: str) -> bool:
    """Whether the interpreter under test can run this kind."""
    own = {"asgi": "gunicorn.workers.gasgi", "sync": "gunicorn", "gthread": "gunicorn"}
    own |= {"any WSGI server": "gunicorn", "any ASGI server": "uvicorn"}
    module = own.get(kind, kind.partition(".")[0])
    asked = subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, check=False)
    return asked.returncode == 0


@cache
def has_opentelemetry() -> bool:
    """Whether the interpreter under test has its SDK."""
    asked = subprocess.run([PYTHON, "-c", "import opentelemetry.sdk"], capture_output=True, check=False)
    return asked.returncode == 0


def command(kind: str) -> list[str]:
    """How to start a server of this kind."""
    if kind == "uvicorn":
        return ["uvicorn", "--factory", "server_tracing.uvicorn:create_app", "--lifespan", "off"]
    if kind == "any WSGI server":
        return [
            "gunicorn",
            "-k",
            "gthread",
            "--threads",
            "8",
            "--keep-alive",
            "30",
            "inside_app:wrapped_wsgi",
        ]
    if kind == "any ASGI server":
        return ["uvicorn", "--lifespan", "off", "inside_app:wrapped_asgi"]
    app, options = GUNICORN[kind]
    return ["gunicorn", *DOOR, "-k", kind, *options, app]


def served(kind: str, **env: str) -> Server:
    """A server of this kind, serving."""
    if not installed(kind):
        pytest.skip(f"{kind} is not installed")
    return start(command(kind), {"SERVER_TRACING_APP": "inside_app:asgi", **env})


def visits(port: int, page: str, names: list[int]) -> Iterator[dict[str, Any]]:
    """What the visits of one client are answered; its connection is kept where the server keeps it."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        for name in names:
            connection.request("GET", f"/{page}/{name}")
            with connection.getresponse() as response:
                assert response.status == 200, f"visit {name}"
                yield json.loads(response.read())


def told(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The spans that the application named; those of its calls name themselves."""
    return [span for span in record["spans"] if span["name"] != "call"]


def crowd(port: int, page: str = "visit") -> dict[str, dict[str, Any]]:
    """All visits, from many clients at once; what each was answered by its name."""
    names = random.Random(3).sample(range(VISITS), VISITS)
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = pool.map(lambda n: list(visits(port, page, names[n::CLIENTS])), range(CLIENTS))
        return {answer["name"]: answer for answers_of_one in answers for answer in answers_of_one}


@cache
def interleaved(kind: str, lazy: bool) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each visit's answer and its record."""
    with served(kind, **({"TEST_LAZY": "1"} if lazy else {})) as server:
        answers = crowd(server.port)
        server.records(VISITS)
        server.stop()
        records = server.records(VISITS)
    assert len(records) == VISITS, server.log()
    return [(answers[record["path"].rpartition("/")[2]], record) for record in records]


@pytest.mark.parametrize("lazy", [False, True], ids=["imported before", "first used in a request"])
@pytest.mark.parametrize("kind", SERVERS)
class TestInterleaved:
    """Two hundred requests at once, the first one that asks among them."""

    def test_every_request_sees_itself_and_no_other(self, kind, lazy):
        """In threads, tasks and pools of its own, and while its response goes out."""
        for answer, record in interleaved(kind, lazy):
            assert answer["seen"] == [record["trace_id"]]

    def test_nothing_enters_another_requests_record(self, kind, lazy):
        """Annotations, user and spans are the request's own, each once, and none of what came too late."""
        expected = THREADS if "wsgi" in command(kind)[-1] else TASKS
        for answer, record in interleaved(kind, lazy):
            name = answer["name"]
            assert record["annotations"] == {"name": name}
            assert record["user"] == name
            assert sorted(span["name"] for span in told(record)) == sorted(f"{k} {name}" for k in expected)

    def test_spans_stand_where_they_were_begun(self, kind, lazy):
        """The outer one in the request, the others in the outer one; all ended."""
        for _, record in interleaved(kind, lazy):
            outer = next(span for span in told(record) if span["name"].startswith("outer"))
            inner = [span for span in told(record) if span is not outer]
            assert outer["parent_id"] == record["span_id"]
            assert {span["parent_id"] for span in inner} == {outer["span_id"]}
            assert all("duration_ms" in span for span in record["spans"])
            assert len({span["span_id"] for span in record["spans"]}) == len(record["spans"])


@pytest.mark.parametrize("kind", ["sync", "asgi"])
def test_a_killed_worker_has_said_what_it_said(kind):
    """The span it died in is there, not ended, with the last words."""
    with served(kind) as server:
        server.talk(get("/die/young"))
        record = server.records(1)[0]
    spans = {span["name"]: span for span in record["spans"]}
    assert record["outcome"] == "killed"
    assert record["annotations"] == {"name": "young"}
    assert "duration_ms" in spans["done"]
    assert "duration_ms" not in spans["fatal"]
    assert spans["fatal"]["annotations"] == {"last": "words"}


@pytest.mark.parametrize("lazy", [False, True], ids=["set before", "set in a request"])
@pytest.mark.parametrize("kind", ["gthread", "gevent", "uvicorn"])
def test_opentelemetrys_spans_join_the_request(kind, lazy):
    """Of an application that has set a provider and does nothing else."""
    if not has_opentelemetry():
        pytest.skip("no OpenTelemetry SDK")
    env = {"TEST_OTEL": "1", **({"TEST_LAZY": "1"} if lazy else {})}
    with served(kind, **env) as server:
        first = next(iter(visits(server.port, "otel", [VISITS])))
        answers = crowd(server.port, "otel")
        server.stop()
        records = [
            record for record in server.records(VISITS + 1) if not record["path"].endswith(first["name"])
        ]
    assert len(records) == VISITS
    for record in records:
        name = record["path"].rpartition("/")[2]
        spans = {span["name"]: span for span in record["spans"]}
        assert answers[name]["seen"] == [record["trace_id"]]
        assert set(spans) == {f"outer {name}", f"inner {name}"}
        assert spans[f"outer {name}"]["parent_id"] == record["span_id"]
        assert spans[f"inner {name}"]["parent_id"] == spans[f"outer {name}"]["span_id"]


UNINTERESTED = """
import contextvars, sys

def seen():
    variables = [variable.name for variable in contextvars.copy_context()]
    return repr(("server_tracing" in variables, "server_tracing.inside.here" in sys.modules)).encode()

def wsgi(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [seen()]

async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": seen()})
"""


@pytest.mark.parametrize("kind", [kind for kind in SERVERS if not kind.startswith("any")])
@pytest.mark.parametrize("door", ["door", "run"])
def test_who_does_not_ask_pays_for_nothing(kind, door):
    """No variable in the context of a request, and the room is not even imported."""
    if not installed(kind):
        pytest.skip(f"{kind} is not installed")
    argv = [word.replace("inside_app", "uninterested") for word in command(kind)]
    if door == "run":
        argv = [word for word in argv if word not in DOOR]
        argv = ["uvicorn", "--lifespan", "off", "uninterested:asgi"] if kind == "uvicorn" else argv
        argv = ["server_tracing.cli", "run", PYTHON, "-m", *argv, *BIND[argv[0]]]
    env = {"SERVER_TRACING_APP": "uninterested:asgi", "PYTHONPATH": f"{REPOSITORY}:{{root}}"}
    with start(argv, env, files={"uninterested.py": UNINTERESTED}) as server:
        assert body_of(server.talk(get("/"))) == b"(False, False)"
        assert len(server.records(1)) == 1
