"""HTTP/2 under gunicorn, on the workers that serve it: every stream is one record."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from harness import PYTHON, Server, connect, records, start, wait_until

h2_connection = pytest.importorskip("h2.connection")
h2_events = pytest.importorskip("h2.events")

WORKERS = ["gthread", "gevent", "asgi"]
CLEARTEXT = ["--http-protocols", "h1,h2", "--http2-cleartext", "prior-knowledge"]


class Answer(NamedTuple):
    status: int  # 0: the stream was reset
    body: bytes


class Client:
    """One HTTP/2 connection over cleartext."""

    def __init__(self, server: Server) -> None:
        self.socket = connect(server.address)
        self.h2 = h2_connection.H2Connection()
        self.headers: dict[bytes, bytes] = {}  # of the last answer
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def send(self, path: str, *headers: tuple[str, str], method: str = "GET", body: bytes = b"") -> int:
        stream: int = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "test")]
        self.h2.send_headers(stream, [*pseudo, *headers], end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        self.flush()
        return stream

    def events(self) -> Iterator[Any]:
        while data := self.socket.recv(65536):
            yield from self.h2.receive_data(data)
            self.flush()

    def answer(self, stream: int) -> Answer:
        status, body, headers = 0, b"", {}
        for event in self.events():
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, h2_events.ResponseReceived):
                headers = dict(event.headers)
                status = int(headers[b":status"])
            elif isinstance(event, h2_events.DataReceived):
                body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                self.flush()
            elif isinstance(event, (h2_events.StreamEnded, h2_events.StreamReset)):
                break
        self.headers = headers
        return Answer(status, body)

    def ask(self, path: str, *headers: tuple[str, str], **options: Any) -> Answer:
        return self.answer(self.send(path, *headers, **options))


def serves_http2() -> bool:
    trial = [PYTHON, "-c", "import gunicorn.http2.response, h2"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module", params=WORKERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if not serves_http2():
        pytest.skip("this gunicorn serves no HTTP/2")
    app = "asgi_app:app" if request.param == "asgi" else "wsgi_app:app"
    arguments = ["gunicorn", "-c", "python:server_tracing.gunicorn", "-k", request.param, "--threads", "4"]
    env = {"SERVER_TRACING_RESPONSE_HEADER": "1"}
    with start([*arguments, *CLEARTEXT, app], env) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server) as connected:
        yield connected


def recorded(server: Server, path: str) -> dict[str, Any]:
    """The one record of this path."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [record for record in records(server.state_dir) if record.get("path") == path]
        return bool(found)

    wait_until(there)
    (record,) = found
    return record


def test_a_stream_says_which_trace_it_belongs_to(server: Server, client: Client) -> None:
    """As every response does."""
    root = "Root=1-5759e988-bd862e3fe1be46a994272793"
    client.ask("/hello/said", ("x-amzn-trace-id", f"{root};Sampled=?"))
    span = recorded(server, "/hello/said")["span_id"]
    assert client.headers[b"x-amzn-trace-id"].decode() == f"{root};Sampled=1"
    assert client.headers[b"traceresponse"].decode().split("-")[2] == span


def test_a_stream_is_a_record(server: Server, client: Client) -> None:
    """With version, status and bytes as the client saw them."""
    answer = client.ask("/hello?x=1")
    record = recorded(server, "/hello")
    assert answer == (200, b"hello")
    assert (record["http_version"], record["path"], record["query"]) == ("2", "/hello", "x=1")
    assert (record["status"], record["response_bytes"], record["outcome"]) == (200, 5, "ok")
    assert record["host"] == "test"


def test_an_upload(server: Server, client: Client) -> None:
    """Its body comes in frames."""
    answer = client.ask("/echo", method="POST", body=b"x" * 1000)
    record = recorded(server, "/echo")
    assert answer == (200, b"x" * 1000)
    assert (record["method"], record["response_bytes"]) == ("POST", 1000)


def test_an_application_that_raises(server: Server, client: Client) -> None:
    """The 500 of an HTTP/2 stream passes no `handle_error`."""
    answer = client.ask("/boom")
    record = recorded(server, "/boom")
    assert (record["outcome"], record["status"]) == ("error", answer.status)
    assert answer.status == 500
    assert record["exception"]["type"] == "ValueError"


def test_a_failure_in_mid_stream(server: Server, client: Client) -> None:
    """The status was sent before."""
    answer = client.ask("/midstream")
    record = recorded(server, "/midstream")
    assert (record["outcome"], record["status"]) == ("error", answer.status)
    assert record["exception"]["message"] == "too late"


def test_a_stream_the_client_resets(server: Server, client: Client) -> None:
    """`disconnected`, while the connection goes on."""
    stream = client.send("/forever")
    for event in client.events():
        if isinstance(event, h2_events.DataReceived):
            break
    client.h2.reset_stream(stream)
    client.flush()
    record = recorded(server, "/forever")
    assert (record["outcome"], record["status"]) == ("disconnected", 200)


def test_a_malformed_request(server: Server, client: Client) -> None:
    """Its stream is reset without a status: refused."""
    answer = client.ask("/refused", method="G@T")
    record = recorded(server, "/refused")
    assert answer.status == 0
    assert (record["outcome"], record["reason"]) == ("rejected", "invalid request method")


def test_a_connection_that_says_nothing_is_no_request(server: Server) -> None:
    """Whoever only looks whether the port is open asked for nothing."""
    connect(server.address).close()
    with Client(server) as client:
        client.ask("/after")
        recorded(server, "/after")
    assert all("path" in record for record in records(server.state_dir))
