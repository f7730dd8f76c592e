"""Every outcome a request can have under gunicorn, on every worker: what the client saw is what was recorded.

One server per worker class answers all requests of the table one after the other; then it is stopped, and
each test compares the clients' side with the records. Sequential requests are records in the same order.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest
from harness import PYTHON, Server, body_of, connect, get, read_all, start, status_of, talk

TRACING = ["-c", "python:server_tracing.gunicorn"]
HOOKED = ["sync", "gthread", "gevent"]
ASGI = ["asgi", "uvicorn_worker.UvicornWorker"]
LOG_FORMAT = "access %(m)s %(U)s %(q)s %(s)s %(B)s"
LONG = b"x" * 10_000


@cache
def installed(worker: str) -> bool:
    """Whether the interpreter under test can run this worker."""
    module = {"asgi": "gunicorn.workers.gasgi", "sync": "gunicorn", "gthread": "gunicorn"}.get(worker)
    module = module or worker.partition(".")[0]
    return (
        subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0
    )


class Seen(NamedTuple):
    """What the client saw of one request, and what was recorded of it."""

    answer: bytes
    record: dict[str, Any]

    @property
    def body(self) -> bytes:
        return body_of(self.answer)


Act = Callable[[tuple[str, int]], bytes]


def ask(path: str, *headers: str, **options: Any) -> Act:
    return lambda address: talk(address, get(path, *headers, **options))


def say(raw: bytes) -> Act:
    return lambda address: talk(address, raw)


def leave_during_response(address: tuple[str, int]) -> bytes:
    with connect(address) as client:
        client.sendall(get("/forever"))
        return client.recv(100)


def leave_during_upload(address: tuple[str, int]) -> bytes:
    with connect(address) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
        time.sleep(0.2)  # the server is to be reading when the client leaves
    return b""


def leave_before_the_request_is_whole(address: tuple[str, int]) -> bytes:
    with connect(address) as client:
        client.sendall(b"GET / HT")
    return b""


def continued(address: tuple[str, int]) -> bytes:
    with connect(address) as client:
        client.sendall(get("/echo", "Expect: 100-continue", "Content-Length: 3", method="POST"))
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        client.sendall(b"abc")
        return b"".join(iter(lambda: client.recv(1000), b""))


ANSWERED: dict[str, Act] = {
    "plain": ask("/hello?q=1&token=secret", "User-Agent: me"),
    "head": ask("/hello", method="HEAD"),
    "not found": ask("/missing"),
    "no content": ask("/empty"),
    "not modified": ask("/unchanged"),
    "upload": ask("/echo", method="POST", body=b"x" * 1000),
    "continued": continued,
    "stream": ask("/stream"),
}
FAILED: dict[str, Act] = {"raised": ask("/boom"), "raised in mid-stream": ask("/midstream")}
LEFT: dict[str, Act] = {"left during response": leave_during_response, "left in upload": leave_during_upload}
REFUSED: dict[str, Act] = {
    "malformed line": say(b"NONSENSE\r\n\r\n"),
    "malformed header": say(b"GET /refused?a=b HTTP/1.1\r\nHost: test\r\nBad Header: x\r\n\r\n"),
    "long line": say(b"GET /" + LONG + b" HTTP/1.1\r\nHost: test\r\n\r\n"),
    "long header": say(b"GET /refused HTTP/1.1\r\nHost: test\r\nX-Long: " + LONG + b"\r\n\r\n"),
}
WSGI_ONLY: dict[str, Act] = {"file": ask("/file"), "write": ask("/written"), "exit": ask("/leave")}
ACTS = {**ANSWERED, **FAILED, **REFUSED, **LEFT}
OUTCOMES = {
    **dict.fromkeys(ANSWERED, "ok"),
    **dict.fromkeys(FAILED, "error"),
    **dict.fromkeys(REFUSED, "rejected"),
    **dict.fromkeys(LEFT, "disconnected"),
    "file": "ok",
    "write": "ok",
    "exit": "error",
}


def acts_of(worker: str) -> dict[str, Act]:
    """The requests of the table that mean something to this worker."""
    acts = ACTS if worker in ASGI else {**ACTS, **WSGI_ONLY}
    meaningless = {
        "uvicorn_worker.UvicornWorker": {"long line", "long header"},  # httptools takes any
        "gthread": {"exit"},  # up to 23.0 it loses the thread, and never stops
    }.get(worker, set())
    return {name: act for name, act in acts.items() if name not in meaningless}


class Table:
    """All requests of the table, as one server answered and recorded them."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        asgi = worker in ASGI
        acts = acts_of(worker)
        app = "asgi_app:app" if asgi else "wsgi_app:app"
        log = ["--access-logfile", "-", "--access-logformat", LOG_FORMAT]
        with start(["gunicorn", *TRACING, "-k", worker, *log, app]) as server:
            answers = {name: act(server.address) for name, act in acts.items()}
            leave_before_the_request_is_whole(server.address)
            server.stop()
            self.records = server.records(len(acts))
            self.log = server.log()
        names = list(acts)
        self.seen = {
            name: Seen(answers[name], record) for name, record in zip(names, self.records, strict=False)
        }


@pytest.fixture(scope="module", params=[*HOOKED, *ASGI])
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    if not installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    return Table(request.param)


def test_every_request_is_exactly_one_record(table: Table) -> None:
    """Answered, failed, refused or broken off: one each; half a request line is none."""
    outcomes = {name: seen.record["outcome"] for name, seen in table.seen.items()}
    assert outcomes == {name: OUTCOMES[name] for name in acts_of(table.worker)}
    assert len({record["trace_id"] for record in table.records}) == len(table.records)


@pytest.mark.parametrize("name", [*ANSWERED, *FAILED, *REFUSED])
def test_the_status_is_the_one_the_client_got(table: Table, name: str) -> None:
    """Also where it was the server that answered."""
    seen = table.seen.get(name) or pytest.skip("means nothing to this worker")
    assert seen.record["status"] == status_of(seen.answer)


def test_an_answer_is_recorded_in_full(table: Table) -> None:
    """What the client sent, who it was and what it got."""
    record = table.seen["plain"].record
    assert (record["method"], record["path"], record["host"]) == ("GET", "/hello", "test")
    assert (record["scheme"], record["http_version"], record["user_agent"]) == ("http", "1.1", "me")
    assert record["client_ip"] == "127.0.0.1"
    assert "q=1" in record["query"]
    assert "secret" not in record["query"]
    assert record["server"].startswith("gunicorn ")
    assert record["worker_class"] == table.worker
    assert 0 < record["ttfb_ms"] <= record["duration_ms"]


@pytest.mark.parametrize("name", ["plain", "head", "not found", "no content", "not modified", "upload"])
def test_the_response_bytes_are_those_the_client_got(table: Table, name: str) -> None:
    """Of the body; none for HEAD, 204 and 304."""
    seen = table.seen[name]
    assert seen.record["response_bytes"] == len(seen.body)


def test_the_request_bytes_are_those_of_its_body(table: Table) -> None:
    """An upload has its length, a GET has none."""
    assert table.seen["upload"].record["request_bytes"] == 1000
    assert table.seen["continued"].record["request_bytes"] == 3
    assert table.seen["plain"].record["request_bytes"] == 0


def test_a_stream_lasts_to_its_last_byte(table: Table) -> None:
    """The first byte is early, the end is late."""
    record = table.seen["stream"].record
    assert record["duration_ms"] >= 300
    assert record["ttfb_ms"] < 250
    assert record["response_bytes"] == 40


def test_an_exception_is_recorded_with_its_stack_and_cause(table: Table) -> None:
    """As the application raised it, with the application's own frames last."""
    found = table.seen["raised"].record["exception"]
    assert (found["type"], found["message"], found["cause"]["type"]) == ("ValueError", "boom", "KeyError")
    assert 'in boom\n    raise ValueError("boom") from inner' in found["stack"]


def test_a_failure_in_mid_stream_shows_the_original_exception(table: Table) -> None:
    """Not the StopIteration by which gunicorn closes the connection; the status is the one that was sent."""
    record = table.seen["raised in mid-stream"].record
    assert (record["exception"]["type"], record["exception"]["message"]) == ("RuntimeError", "too late")
    assert record["response_bytes"] == 5


@pytest.mark.parametrize("name", ["malformed header", "long header"])
def test_a_refused_request_keeps_what_was_known_of_it(table: Table, name: str) -> None:
    """Method and path were read before the header that was wrong; the reason says what was."""
    if table.worker not in (*HOOKED, "asgi"):
        pytest.skip("uvicorn's parsers keep nothing of it")
    record = table.seen[name].record
    assert (record["method"], record["path"], record["client_ip"]) == ("GET", "/refused", "127.0.0.1")
    assert "header" in record["reason"]


def test_the_access_log_says_the_same(table: Table) -> None:
    """Method, path, query, status and bytes, for every request that gunicorn logs."""
    if table.worker not in HOOKED:
        pytest.skip("this worker logs in its own way")
    logged = [line.split(" ")[1:] for line in table.log.splitlines() if line.startswith("access ")]
    assert len(logged) >= len(ANSWERED)
    by_request = {(record.get("method"), record.get("path")): record for record in reversed(table.records)}
    for method, path, _query, status, sent in logged:
        record = by_request.get((method, path))
        if record is None or path == "/file":  # gunicorn counts no byte that sendfile sends
            continue
        if path in ("/echo", "/hello"):
            record = next(r for r in table.records if matches(r, method, path, status, sent))
        assert (str(record.get("status")), str(record["response_bytes"])) == (status, sent), path


def matches(record: dict[str, Any], method: str, path: str, status: str, sent: str) -> bool:
    found = (
        record.get("method"),
        record.get("path"),
        str(record.get("status")),
        str(record.get("response_bytes")),
    )
    return found == (method, path, status, sent)


def test_a_sent_file_has_its_length(table: Table) -> None:
    """Sent by the kernel, it passes no code that could count it."""
    if table.worker in ASGI:
        pytest.skip("ASGI has no file wrapper")
    seen = table.seen["file"]
    assert seen.record["response_bytes"] == len(seen.body) == 100_000
    assert table.seen["write"].record["response_bytes"] == 10


def test_nobody_leaves_a_traceback_of_ours(table: Table) -> None:
    """Where no frame of ours stands between server and application, the log has no trace of the package."""
    if table.worker in HOOKED:
        assert "server_tracing" not in table.log
    assert "tracing is off" not in table.log


@pytest.mark.parametrize("worker", [*HOOKED, *ASGI])
def test_clients_get_byte_for_byte_what_they_get_without_us(worker: str) -> None:
    """Every answered, failed and refused request of the table, but for the date."""
    if not installed(worker):
        pytest.skip(f"{worker} is not installed")
    assert answers(worker, TRACING) == answers(worker, [])


def answers(worker: str, configuration: list[str]) -> dict[str, bytes]:
    app = "asgi_app:app" if worker in ASGI else "wsgi_app:app"
    acts = {name: act for name, act in acts_of(worker).items() if name not in LEFT}
    with start(["gunicorn", *configuration, "-k", worker, app]) as server:
        return {name: re.sub(rb"(?i)\ndate: .*", b"", act(server.address)) for name, act in acts.items()}


@pytest.mark.parametrize("worker", ["gthread", "gevent", *ASGI])
def test_a_kept_connection_has_a_record_for_each_request(worker: str) -> None:
    """Also for the one that is refused at its end."""
    if not installed(worker):
        pytest.skip(f"{worker} is not installed")
    app = "asgi_app:app" if worker in ASGI else "wsgi_app:app"
    asked = [b"GET /%d HTTP/1.1\r\nHost: test\r\n\r\n" % number for number in range(3)]
    with start(["gunicorn", *TRACING, "-k", worker, app]) as server:
        with connect(server.address) as client:
            for request in asked:
                client.sendall(request)
                answer = b""
                while not answer.endswith(b"hello"):
                    answer += client.recv(1000)
            client.sendall(b"NONSENSE\r\n\r\n")
            assert status_of(client.recv(1000)) == 400
        found = server.records(4)
    assert [record.get("path") for record in found[:3]] == ["/0", "/1", "/2"]
    assert [record["outcome"] for record in found] == ["ok", "ok", "ok", "rejected"]


HOSTILE = {
    "undecodable header": b"GET / HTTP/1.1\r\nHost: test\r\nUser-Agent: \xff\xfe\xed\xa0\x80\r\n\r\n",
    "undecodable trace": b"GET / HTTP/1.1\r\nHost: test\r\nTraceparent: \xff\xff\r\nB3: \xe9\r\n\r\n",
    "null in header": b"GET / HTTP/1.1\r\nHost: test\r\nUser-Agent: a\x00b\r\n\r\n",
    "escape in header": b"GET / HTTP/1.1\r\nHost: \x1b[31mred\r\n\r\n",
    "undecodable path": b"GET /\xff\xfe?\xc3\x28 HTTP/1.1\r\nHost: test\r\n\r\n",
    "absurd path": b"GET //..%00/%ff/../%2e%2e?&&=&%zz HTTP/1.1\r\nHost: test\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: test\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n",
    "huge header": b"GET / HTTP/1.1\r\nHost: test\r\nUser-Agent: " + b"u" * 65536 + b"\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "strange method": b"G@T / HTTP/1.1\r\nHost: test\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent", "asgi"])
def test_hostile_requests_are_answered_as_without_us_and_recorded(worker: str) -> None:
    """Whatever stands in them, each is one record with the status its sender got."""
    if not installed(worker):
        pytest.skip(f"{worker} is not installed")
    app = "asgi_app:app" if worker == "asgi" else "wsgi_app:app"

    def statuses(server: Server) -> dict[str, int]:
        return {name: first_status(server.address, raw) for name, raw in HOSTILE.items()}

    with start(["gunicorn", "-k", worker, "--keep-alive", "0", app]) as server:
        plain = statuses(server)
    with start(["gunicorn", *TRACING, "-k", worker, "--keep-alive", "0", app]) as server:
        traced = statuses(server)
        server.stop()
        found = server.records(len(HOSTILE))
    assert traced == plain
    assert dict(zip(HOSTILE, [record["status"] for record in found], strict=True)) == traced


def first_status(address: tuple[str, int], raw: bytes) -> int:
    """The status of an answer whose rest is of no interest, and may be cut off by a reset."""
    with connect(address) as client:
        with contextlib.suppress(OSError):
            client.sendall(raw)
        return status_of(read_all(client))


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_the_client_is_the_one_a_proxy_line_names(worker: str) -> None:
    """With `proxy_protocol` the socket's peer is only the proxy."""
    if not installed(worker):
        pytest.skip(f"{worker} is not installed")
    conf = {"gunicorn.conf.py": "proxy_protocol = True\n"}
    with start(["gunicorn", *TRACING, "-k", worker, "wsgi_app:app"], files=conf) as server:
        server.talk(b"PROXY TCP4 203.0.113.9 127.0.0.1 5555 80\r\n" + get("/proxied"))
        (record,) = server.records(1)
    assert (record["path"], record["client_ip"]) == ("/proxied", "203.0.113.9")


def test_tornado_shows_what_reaches_the_application(tmp_path: Any) -> None:
    """Neither hooks nor handle_error are called there: refused requests stay unseen."""
    if not installed("tornado"):
        pytest.skip("tornado is not installed")
    with start(["gunicorn", *TRACING, "-k", "tornado", "wsgi_app:app"]) as server:
        server.talk(get("/hello?x=1"))
        server.talk(get("/stream"))
        with pytest.raises(socket.timeout):  # tornado answers nothing when the application fails
            server.talk(get("/boom"), timeout=0.5)
        first, second, third = server.records(3)
    assert (first["outcome"], first["path"], first["query"], first["status"]) == ("ok", "/hello", "x=1", 200)
    assert second["response_bytes"] == 40
    assert (third["outcome"], third.get("status")) == ("error", None)


def test_sendfile_is_still_used() -> None:
    """The wrapped response still hands files to the kernel."""
    with start(["gunicorn", "wsgi_app:app"], files={"gunicorn.conf.py": SPY_ON_SENDFILE}) as server:
        answer = server.talk(get("/file"))
        (record,) = server.records(1)
        assert "sendfile of 100000" in server.log()
    assert len(body_of(answer)) == record["response_bytes"] == 100_000


SPY_ON_SENDFILE = """
import socket
from server_tracing.gunicorn import install

send_file = socket.socket.sendfile

def spy(self, file, offset=0, count=None):
    sent = send_file(self, file, offset, count)
    print("sendfile of", sent, flush=True)
    return sent

def post_fork(server, worker):
    socket.socket.sendfile = spy

install(globals())
"""


def test_an_application_that_names_no_status_is_answered_as_without_us() -> None:
    """A mistake gunicorn lets pass: the body still reaches the client."""
    with start(["gunicorn", *TRACING, "wsgi_app:app"]) as server:
        answer = server.talk(get("/statusless"))
        (record,) = server.records(1)
    assert answer.startswith(b"HTTP/1.1 None")
    assert answer.endswith(b"\r\n\r\nx")
    assert record["path"] == "/statusless"


def test_a_reason_quotes_nothing_of_the_request() -> None:
    """Header lines hold secrets, and gunicorn's messages quote them."""
    with start(["gunicorn", *TRACING, "wsgi_app:app"]) as server:
        server.talk(b"GET / HTTP/1.1\r\nHost: test\r\nAuthorization : Bearer s3cr3t\r\n\r\n")
        (record,) = server.records(1)
    assert record["outcome"] == "rejected"
    assert not re.search("s3cr3t", str(record))
