"""`response_header`, on every server: what the client is told is what was recorded, and nothing else changes.

Two servers of each kind answer the same requests, one told to say which trace they belong to and one not.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from typing import Any, NamedTuple

import pytest
from harness import PYTHON, body_of, connect, get, start, status_of
from uvicorn_support import uvicorn
from websocket_client import WebSocket

GUNICORN = ["gunicorn", "-c", "python:server_tracing.gunicorn", "--threads", "2", "-k"]
KINDS = {
    "sync": [*GUNICORN, "sync", "wsgi_app:app"],
    "gthread": [*GUNICORN, "gthread", "wsgi_app:app"],
    "gevent": [*GUNICORN, "gevent", "wsgi_app:app"],
    "asgi": [*GUNICORN, "asgi", "asgi_app:app"],
    "uvicorn_worker.UvicornWorker": [*GUNICORN, "uvicorn_worker.UvicornWorker", "asgi_app:app"],
    "uvicorn h11": ["uvicorn", "--factory", "server_tracing.uvicorn:create_app", "--http", "h11"],
    "uvicorn httptools": ["uvicorn", "--factory", "server_tracing.uvicorn:create_app", "--http", "httptools"],
    "uvicorn zttp": ["uvicorn", "--factory", "server_tracing.uvicorn:create_app", "--http", "zttp"],
}
HOOKED = ("sync", "gthread", "gevent")
ROOT, PARENT = "1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
OURS = re.compile(rb"(?im)^(?:x-amzn-trace-id|traceresponse): ([^\r]*)\r\n")
CHANGES = re.compile(rb"(?im)^(?:date|connection): [^\r]*\r\n")  # when, and what asgi workers say at random

REQUESTS: dict[str, bytes] = {
    "plain": get("/hello"),
    "head": get("/hello", method="HEAD"),
    "asked": get("/hello", f"X-Amzn-Trace-Id: Root={ROOT};Parent={PARENT};Sampled=?"),
    "told yes": get("/hello", f"X-Amzn-Trace-Id: Root={ROOT};Sampled=1;Lineage=x:1"),
    "told no": get("/hello", f"X-Amzn-Trace-Id: Root={ROOT};Parent={PARENT};Sampled=0"),
    "not found": get("/missing"),
    "no content": get("/empty"),
    "not modified": get("/unchanged"),
    "upload": get("/echo", method="POST", body=b"x" * 1000),
    "stream": get("/stream"),
    "raised": get("/boom"),
    "raised in mid-stream": get("/midstream"),
    "file": get("/file"),
    "write": get("/written"),
}
WSGI_ONLY = ("file", "write")
RACY = ("raised in mid-stream",)  # how much of it arrives


@cache
def installed(kind: str) -> bool:
    """Whether the interpreter under test can run this kind."""
    modules = {"sync": "gunicorn", "gthread": "gunicorn", "asgi": "gunicorn.workers.gasgi"}
    module = modules.get(kind, kind.rpartition(" ")[2].partition(".")[0])
    asked = subprocess.run([PYTHON, "-c", f"import {module}, uvicorn"], capture_output=True, check=False)
    if kind == "uvicorn zttp" and asked.returncode == 0:
        module = "uvicorn.protocols.http.zttp_impl"
        asked = subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, check=False)
    return asked.returncode == 0


class Answer(NamedTuple):
    """What the client got, with our headers and without, and what was recorded."""

    raw: bytes
    record: dict[str, Any]

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0] + b"\r\n"

    @property
    def said(self) -> list[str]:
        return [value.decode() for value in OURS.findall(self.head)]

    @property
    def without(self) -> tuple[bytes, bytes]:
        return CHANGES.sub(b"", OURS.sub(b"", self.head)), body_of(self.raw)


class Served:
    """All requests, as a server of one kind answered and recorded them."""

    def __init__(self, kind: str, on: bool) -> None:
        self.kind = kind
        left_out = () if "wsgi_app:app" in KINDS[kind] else WSGI_ONLY
        names = [name for name in REQUESTS if name not in left_out]
        env = {
            "SERVER_TRACING_RESPONSE_HEADER": str(int(on)),
            "SERVER_TRACING_SAMPLING_RATE": "0.5",
            "SERVER_TRACING_SAMPLING_KEEP_ERRORS": "off",
            "SERVER_TRACING_APP": "asgi_app:app",
        }
        with start(KINDS[kind], env) as server:
            answers = [server.talk(REQUESTS[name]) for name in names]
            server.stop()
            records = server.records(len(names))
            self.log = server.log()
        pairs = zip(answers, records, strict=True)
        self.answers = dict(zip(names, map(Answer._make, pairs), strict=True))


@pytest.fixture(scope="module", params=KINDS)
def both(request: pytest.FixtureRequest) -> tuple[Served, Served]:
    if not installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    return Served(request.param, True), Served(request.param, False)


def test_every_response_says_which_trace_it_belongs_to(both: tuple[Served, Served]) -> None:
    """The one that is recorded; and which span served it, and what was decided."""
    on, off = both
    for name, (raw, record) in on.answers.items():
        answer = on.answers[name]
        trace, span = record["trace_id"], record["span_id"]
        root = f"Root=1-{trace[:8]}-{trace[8:]}"
        xray, traceresponse = sorted(answer.said, reverse=True)
        asked = f";Sampled={record.get('sampled', True):d}" if name == "asked" else ""
        assert xray == root + asked, (name, raw)
        flags = int(traceresponse.rpartition("-")[2], 16)
        assert traceresponse == f"00-{trace}-{span}-{flags:02x}", name
        assert flags & 1 == record.get("sampled", True), name
        assert flags & 2 == (0 if name in ("asked", "told yes", "told no") else 2), name
    assert all(answer.said == [] for answer in off.answers.values())


def test_the_callers_trace_is_echoed_whatever_was_decided(both: tuple[Served, Served]) -> None:
    """Also of a request that is not sampled, where the SDK answers with zeros; never its parent."""
    for name in ("asked", "told yes", "told no"):
        xray = max(both[0].answers[name].said)
        assert xray.startswith(f"Root={ROOT}")
        assert "Parent" not in xray
        assert ("Sampled" in xray) == (name == "asked")


def test_nothing_else_changes(both: tuple[Served, Served]) -> None:
    """Byte for byte, but for the two headers, the date and who closes."""
    on, off = both
    for name, answer in off.answers.items():
        if name not in RACY:
            assert on.answers[name].without == answer.without, name
        assert status_of(on.answers[name].raw) == status_of(answer.raw), name
    assert "server_tracing/inside" not in on.log


def test_records_are_what_they_are_without(both: tuple[Served, Served]) -> None:
    """Outcome, status and bytes."""
    for name, (_, record) in both[1].answers.items():
        said = both[0].answers[name].record
        if name not in RACY:
            for field in ("outcome", "status", "response_bytes", "request_bytes"):
                assert said.get(field) == record.get(field), (name, field)


@pytest.mark.parametrize("kind", ["asgi", "uvicorn_worker.UvicornWorker", "uvicorn httptools"])
@pytest.mark.parametrize(("path", "status"), [("/echo", 101), ("/deny", 418)])
def test_a_websocket_says_it_in_its_handshake(kind: str, path: str, status: int) -> None:
    """Or in the response that refuses it; what the server itself refuses says nothing."""
    if not installed(kind):
        pytest.skip(f"{kind} is not installed")
    if path == "/deny" and (kind == "asgi" or tuple(uvicorn()["version"]) < (0, 29)):
        pytest.skip("it lets no application refuse with a response of its own")
    env = {"SERVER_TRACING_RESPONSE_HEADER": "1", "SERVER_TRACING_APP": "asgi_app:app"}
    with start(KINDS[kind], env) as server:
        with connect(server.address) as connection:
            socket = WebSocket(
                connection,
                path,
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version: 13",
                f"X-Amzn-Trace-Id: Root={ROOT};Sampled=?",
            )
            if status == 101:
                socket.close()
        (record,) = server.records(1)
    assert (socket.status, record["status"]) == (status, status)
    assert f"Root={ROOT};Sampled=1" in [value.decode() for value in OURS.findall(socket.head + b"\r\n")]


def test_a_wrapped_application_says_it_too() -> None:
    """Of a server that calls no hooks: tornado's worker."""
    if not installed("tornado"):
        pytest.skip("tornado is not installed")
    env = {"SERVER_TRACING_RESPONSE_HEADER": "1"}
    with start([*GUNICORN, "tornado", "wsgi_app:app"], env) as server:
        answer = server.talk(REQUESTS["asked"])
        (record,) = server.records(1)
    assert body_of(answer) == b"hello"
    assert max(OURS.findall(answer)).decode() == f"Root={ROOT};Sampled=1"
    assert record["trace_id"] == ROOT[2:].replace("-", "")


SPY_ON_SENDFILE = """
import socket
send_file = socket.socket.sendfile

def spy(self, *arguments, **named):
    sent = send_file(self, *arguments, **named)
    print("sendfile of", sent, flush=True)
    return sent

socket.socket.sendfile = spy
"""


@pytest.mark.parametrize("kind", HOOKED[:2])
def test_files_are_still_sent_by_the_kernel(kind: str) -> None:
    """With our headers in front of them."""
    env = {"SERVER_TRACING_RESPONSE_HEADER": "1"}
    with start(KINDS[kind], env, files={"gunicorn.conf.py": SPY_ON_SENDFILE}) as server:
        answer = server.talk(get("/file"))
        assert "sendfile of 100000" in server.log()
    assert (body_of(answer), len(OURS.findall(answer))) == (b"f" * 100_000, 2)


def test_what_the_application_says_of_its_trace_gives_way() -> None:
    """The SDK's middleware names a trace of its own, which nobody recorded."""
    app = """
def app(environ, start_response):
    start_response("200 OK", [("X-AMZN-TRACE-ID", "Root=1-0-0"), ("X-Other", "1")])
    return [b"hello"]
"""
    command = [*GUNICORN, "sync", "--pythonpath", "{root}", "theirs:app"]
    with start(command, {"SERVER_TRACING_RESPONSE_HEADER": "1"}, files={"theirs.py": app}) as server:
        answer = server.talk(get("/"))
        (record,) = server.records(1)
    trace = record["trace_id"]
    assert b"X-Other: 1" in answer
    assert f"Root=1-{trace[:8]}-{trace[8:]}".encode() == max(OURS.findall(answer))
    assert len(OURS.findall(answer)) == 2
