"""gunicorn's own `asgi` worker: what only ASGI has, and what its protocol answers by itself."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from harness import PYTHON, Server, connect, events, get, read_all, start, status_of, wait_until

TRACED = ["gunicorn", "-c", "python:server_tracing.gunicorn", "-k", "asgi", "asgi_app:app"]
HANDSHAKE = ["Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]


@pytest.fixture(scope="module", autouse=True)
def asgi_worker() -> None:
    trial = [PYTHON, "-c", "import gunicorn.workers.gasgi"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("this gunicorn has no asgi worker")


@pytest.fixture
def server() -> Iterator[Server]:
    with start(TRACED) as running:
        yield running


def upgrade(path: str, version: int) -> bytes:
    headers = [*HANDSHAKE, "Connection: Upgrade", f"Sec-WebSocket-Version: {version}"]
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: test", *headers, "", ""]).encode()


def only(server: Server) -> dict[str, Any]:
    """The one record there is once the server has said all it knows."""
    server.stop()
    (record,) = server.records(1)
    return record


def test_a_handshake_of_another_version_is_refused(server: Server) -> None:
    """The worker answers 426, no application is asked."""
    answer = server.talk(upgrade("/chat?a=b", 8))
    record = only(server)
    assert status_of(answer) == record["status"] == 426
    assert (record["outcome"], record["path"], record["reason"]) == ("rejected", "/chat", "invalid handshake")
    assert record["scheme"] == "ws"


def test_a_websocket_that_the_application_refuses(server: Server) -> None:
    """403 is its status."""
    answer = server.talk(upgrade("/refuse", 13))
    record = only(server)
    assert status_of(answer) == record["status"] == 403


def test_a_websocket_that_the_application_closes(server: Server) -> None:
    """101, and the code it closed with."""
    with connect(server.address) as client:
        client.sendall(upgrade("/bye", 13))
        answer = client.recv(1000)
        client.sendall(b"\x88\x82\x00\x00\x00\x00\x0f\xa1")  # a close frame, masked with zeros: 4001
        read_all(client)
    record = only(server)
    assert status_of(answer) == record["status"] == 101
    assert (record["scheme"], record["close_code"]) == ("ws", 4001)


def test_a_websocket_that_the_application_leaves_open(server: Server) -> None:
    """gunicorn closes it for an internal error, and the record says so."""
    with connect(server.address) as client:
        client.sendall(upgrade("/desert", 13))
        frame = read_all(client).partition(b"\r\n\r\n")[2]
    record = only(server)
    assert int.from_bytes(frame[2:4], "big") == record["close_code"] == 1011
    assert (record["outcome"], record["reason"]) == ("ok", "the application returned without closing")


def test_a_body_that_turns_out_malformed_is_refused_once(server: Server) -> None:
    """The application is at it already: the 400 belongs to its record."""
    with connect(server.address) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
        time.sleep(0.2)  # the application is to be at it
        client.sendall(b"no number\r\n")
        answer = read_all(client)
    record = only(server)
    assert status_of(answer) == record["status"] == 400
    assert (record["outcome"], record["reason"]) == ("rejected", "invalid chunk size")


def test_a_body_malformed_from_the_start_is_refused_once(server: Server) -> None:
    """Head and body come at once: the application never gets the request."""
    head = b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = server.talk(head + b"no number\r\n")
    record = only(server)
    assert status_of(answer) == record["status"] == 400
    assert (record["outcome"], record["path"]) == ("rejected", "/echo")


def test_an_application_without_an_answer(server: Server) -> None:
    """gunicorn's 500 in its place is one record, the application's."""
    answer = server.talk(get("/silent"))
    record = only(server)
    assert status_of(answer) == record["status"] == 500
    assert record["outcome"] == "error"


def test_an_event_stream_is_marked(server: Server) -> None:
    """It counts in no latency."""
    server.talk(get("/events"))
    assert only(server)["event_stream"] is True


@pytest.mark.parametrize("path", ["/deny", "/return"])
def test_a_websocket_without_a_handshake_has_the_status_its_client_got(server: Server, path: str) -> None:
    """403: gunicorn's own, as it knows no denial responses."""
    answer = server.talk(upgrade(path, 13))
    record = only(server)
    assert status_of(answer) == record["status"] == 403


def test_a_head_that_gunicorn_still_holds_is_none(server: Server) -> None:
    """The application raised between its head and its body: nothing went out."""
    answer = server.talk(get("/halfway"))
    record = only(server)
    assert (answer, record["outcome"], record.get("status"), record.get("ttfb_ms")) == (
        b"",
        "error",
        None,
        None,
    )
    assert record["exception"]["type"] == "RuntimeError"


def test_an_invalid_response_header_is_the_500_its_client_got(server: Server) -> None:
    """The application's 200 never went out."""
    answer = server.talk(get("/split"))
    record = only(server)
    assert status_of(answer) == record["status"] == 500
    assert record["outcome"] == "error"


def test_a_response_lasts_until_a_slow_client_has_taken_it(server: Server) -> None:
    """What the transport still holds has not been sent."""
    with connect(server.address) as client:
        client.sendall(get("/large"))
        client.recv(1)
        time.sleep(1)  # the client's slowness
        read_all(client)
    record = only(server)
    assert (record["outcome"], record["response_bytes"]) == ("ok", 20_000_000)
    assert record["duration_ms"] > 900


def test_a_client_that_resets_before_it_has_taken_all_has_disconnected(server: Server) -> None:
    """Although the application had given everything."""
    with connect(server.address) as client:
        client.sendall(get("/large"))
        client.recv(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    (record,) = server.records(1)
    assert (record["outcome"], record["status"]) == ("disconnected", 200)


def test_start_up_and_shut_down_are_recorded(server: Server) -> None:
    """The lifespan's two halves, as the application ended them."""
    server.talk(get())
    server.stop()
    said = events(server.state_dir)
    assert [what for what in said if "lifespan" in what] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


def test_a_start_up_that_fails_stops_the_server_as_without_us() -> None:
    """gunicorn ends with its own exit code; the reason is on record."""

    def exit_code(*configuration: str) -> int:
        arguments = ["gunicorn", *configuration, "-k", "asgi", "asgi_app:app"]
        ended = start(
            arguments, env={"TEST_LIFESPAN": "startup"}, until=lambda s: s.process.poll() is not None
        )
        with ended:
            if configuration:
                assert "lifespan.startup.failed" in wait_until(lambda: events(ended.state_dir))
            return int(ended.process.returncode)

    assert exit_code("-c", "python:server_tracing.gunicorn") == exit_code()
