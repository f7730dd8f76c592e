"""Every outcome a request can have under uvicorn, as the client saw it, against its record.

Over each door and each HTTP implementation that the version under test has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from harness import connect, read_all, records, status_of, wait_until
from uvicorn_app import BIG
from uvicorn_support import Client, chunked, has_protocol_door, reset, serve, uvicorn

pytestmark = pytest.mark.servers

CASES = [("factory", name) for name in uvicorn()["http"]]
if has_protocol_door():
    CASES.append(("protocol", ""))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(filter(None, case)))
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of one server, which in the end has recorded what it was asked, all of it and nothing else."""
    door, implementation = request.param
    options = ["--http", implementation] if implementation else []
    with serve(*options, door=door) as server:
        asking = Client(server)
        yield asking
        server.stop()
        queries = [record.get("query") for record in records(server.state_dir)]
        assert sorted(filter(None, queries)) == sorted(asking.asked)


def test_an_answered_request_is_recorded_as_the_client_saw_it(client: Client) -> None:
    """Method, host, path, query, status, sizes, address and server are those of the request."""
    answer = client.get("/hello", "User-Agent: test/1")
    record = client.record()
    expected = {
        "method": "GET",
        "scheme": "http",
        "http_version": "1.1",
        "host": "shop.test:80",
        "path": "/hello",
        "status": 200,
        "outcome": "ok",
        "response_bytes": len(answer.body),
        "request_bytes": 0,
        "client_ip": "127.0.0.1",
        "user_agent": "test/1",
    }
    assert {name: record.get(name) for name in expected} == expected
    assert record["server"].startswith("uvicorn ")
    assert record["ttfb_ms"] <= record["duration_ms"]


def test_an_exception_before_the_response_is_the_500_the_client_got(client: Client) -> None:
    """With type, message, stack and what it was raised from."""
    answer = client.get("/boom")
    record = client.record()
    assert (record["outcome"], record["status"]) == ("error", answer.status)
    assert record["response_bytes"] == len(answer.body)
    assert (record["exception"]["type"], record["exception"]["message"]) == ("ValueError", "boom")
    assert record["exception"]["cause"]["type"] == "KeyError"
    assert "server_tracing" not in record["exception"]["stack"]


def test_an_exception_in_mid_stream_keeps_the_status_sent(client: Client) -> None:
    """The head was out: 200, an error all the same, with the bytes that were sent."""
    client.get("/midstream")
    record = client.record()
    assert (record["outcome"], record["status"], record["response_bytes"]) == ("error", 200, 5)
    assert record["exception"]["message"] == "too late"


def test_an_application_that_answers_nothing_is_an_error(client: Client) -> None:
    """uvicorn answers 500 in its place; the reason says why."""
    answer = client.get("/silent")
    record = client.record()
    assert (record["outcome"], record["status"], answer.status) == ("error", 500, 500)
    assert record["response_bytes"] == len(answer.body)
    assert "without a response" in record["reason"]


def test_a_stream_lasts_to_its_last_byte(client: Client) -> None:
    """The first byte is stamped when it goes out, the end when the last does."""
    client.get("/stream")
    record = client.record()
    assert (record["outcome"], record["response_bytes"]) == ("ok", 40)
    assert record["duration_ms"] >= 400 > record["ttfb_ms"]


def test_an_event_stream_is_told_apart(client: Client) -> None:
    """Its duration says nothing of the server."""
    client.get("/events")
    assert client.record()["event_stream"] is True


def test_background_work_is_not_part_of_the_duration(client: Client) -> None:
    """What the application does, and raises, after its answer is an error, but no waiting for the client."""
    client.get("/background")
    record = client.record()
    assert (record["outcome"], record["status"], record["response_bytes"]) == ("error", 200, 5)
    assert record["exception"]["type"] == "LookupError"
    assert record["duration_ms"] < 300


def test_background_work_that_outlives_the_connection_loses_no_record(client: Client) -> None:
    """The client had all of its answer; that its connection is closed by then takes nothing away."""
    client.get("/afterwards")
    record = client.record()
    assert (record["outcome"], record["status"], record["response_bytes"]) == ("ok", 200, 5)
    assert record["duration_ms"] < 300


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("HEAD", "/hello", 200), ("GET", "/empty", 204), ("GET", "/unchanged", 304)],
)
def test_a_response_without_a_body_has_no_bytes(client: Client, method: str, path: str, status: int) -> None:
    """HEAD, 204 and 304: whatever the application gave, nothing was sent."""
    answer = client.get(path, method=method)
    record = client.record()
    assert (record["outcome"], record["status"], record["response_bytes"]) == ("ok", status, 0)
    assert (answer.status, answer.body) == (status, b"")


def test_headers_given_as_an_iterator_arrive(client: Client) -> None:
    """Looking at them would have used them up."""
    assert client.get("/iterator").headers["x-once"] == "1"
    assert client.record()["outcome"] == "ok"


@pytest.mark.parametrize("framing", ["length", "chunks", "expect"])
def test_a_request_body_is_counted(client: Client, framing: str) -> None:
    """However it comes: with its length, in chunks, or after 100-continue."""
    headers, body = ["Content-Length: 1000"], b"x" * 1000
    if framing == "chunks":
        headers, body = ["Transfer-Encoding: chunked"], chunked([b"x" * 600, b"x" * 400])
    elif framing == "expect":
        headers.append("Expect: 100-continue")
    client.get("/echo", *headers, method="POST", body=body)
    record = client.record()
    assert (record["outcome"], record["request_bytes"], record["response_bytes"]) == ("ok", 1000, 1000)
    assert record["status"] == 200


def test_a_client_that_leaves_before_the_response(client: Client) -> None:
    """Nothing was answered: no status."""
    connection = client.send("GET", "/until_left")
    client.server.wait_for_log("startup complete")
    reset(connection)
    record = client.record()
    assert (record["outcome"], record.get("status")) == ("disconnected", None)


def test_a_client_that_leaves_during_the_response(client: Client) -> None:
    """The status it saw, and bytes only as long as it was there."""
    connection = client.send("GET", "/drips")
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    reset(connection)
    record = client.record()
    assert (record["outcome"], record["status"]) == ("disconnected", 200)
    assert record["response_bytes"] < 50 * 1024


@pytest.mark.parametrize("path", ["/big", "/big_in_two"])
def test_a_client_that_leaves_when_the_application_has_finished(client: Client, path: str) -> None:
    """The application has handed over all of it; most is still in the server, and will not arrive."""
    connection = client.send("GET", path)
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    reset(connection)
    record = client.record()
    assert (record["outcome"], record["status"]) == ("disconnected", 200)


def test_a_large_response_that_arrives_is_ok(client: Client) -> None:
    """Also when the server had to wait for the client."""
    answer = client.get("/big")
    record = client.record()
    assert (record["outcome"], record["response_bytes"], len(answer.body)) == ("ok", BIG, BIG)


def test_requests_on_one_connection_are_recorded_one_by_one(client: Client) -> None:
    """One after the other, and pipelined."""
    targets = [client.mark("/hello") for _ in range(3)]
    with connect(client.server.address) as connection:
        requests = [f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode() for target in targets]
        connection.sendall(requests[0])
        received = b""
        while received.count(b"hello") < 1:
            received += connection.recv(1000)
        connection.sendall(requests[1] + requests[2])
        while received.count(b"hello") < 3:
            received += connection.recv(1000)
    assert [client.record(query)["outcome"] for query in client.asked[-3:]] == ["ok"] * 3


MALFORMED = {
    "header": b"GET %s HTTP/1.1\r\nHost: shop.test\r\nno colon here\r\n\r\n",
    "coding": b"POST %s HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked, nonsense\r\n\r\n",
    "other coding": b"POST %s HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: gzip, nonsense\r\n\r\n",
    "length": b"POST %s HTTP/1.1\r\nHost: shop.test\r\nContent-Length: many\r\n\r\n",
    "version": b"GET %s HTTP/x.y\r\nHost: shop.test\r\n\r\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_request_is_refused_and_recorded(client: Client, kind: str) -> None:
    """The application never saw it; what it asked for is known all the same."""
    sent = MALFORMED[kind] % client.mark("/nonsense").encode()
    answer = client.server.talk(sent)
    record = client.record()
    if not answer.startswith(b"HTTP/1.1 400"):
        pytest.skip(f"this implementation accepts it: {answer[:40]!r}")
    assert (record["outcome"], record["status"], record["path"]) == ("rejected", 400, "/nonsense")
    assert record["method"] == sent.split(b" ")[0].decode()
    assert record["reason"]


def test_a_target_that_makes_the_parser_fail_is_recorded(client: Client) -> None:
    """Whatever the client gets, an answer or nothing, the record says the same."""
    answer = client.server.talk(
        b"GET %s HTTP/1.1\r\nHost: \xfc\r\n\r\n" % client.mark("/\xfc").encode("latin-1")
    )
    record = client.record()
    assert record.get("status", 0) == status_of(answer)
    assert record["outcome"] == "rejected" if status_of(answer) in (0, 400) else "ok"


def test_garbage_is_refused_and_recorded(client: Client) -> None:
    """Of what is no request at all nothing is known but who sent it and that it was refused."""
    before = len(records(client.server.state_dir))
    answer = client.server.talk(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")

    def refused() -> list[dict[str, Any]]:
        return [one for one in records(client.server.state_dir)[before:] if one["outcome"] == "rejected"]

    (record,) = wait_until(refused)
    assert (record["status"], record["client_ip"], record.get("path")) == (400, "127.0.0.1", None)


def test_a_body_that_turns_out_malformed_is_one_record(client: Client) -> None:
    """The application was at the request already: its record says that the server broke it off."""
    headers = ["Transfer-Encoding: chunked"]
    with client.send("POST", "/echo", *headers, body=b"5\r\nhello\r\nnonsense\r\n") as connection:
        answer = read_all(connection)
    record = client.record()
    assert answer.startswith(b"HTTP/1.1 400")
    assert (record["outcome"], record["status"]) == ("rejected", 400)


def test_the_access_log_agrees(client: Client) -> None:
    """Path, query and status of everything that was logged."""
    client.get("/missing")
    logged = f'"GET /missing?{client.asked[-1]} HTTP/1.1" 404'
    assert logged in client.server.wait_for_log(logged)
    assert client.record()["status"] == 404
