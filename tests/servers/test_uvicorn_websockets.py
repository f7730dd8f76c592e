"""WebSockets under uvicorn, over each implementation the version under test has, as the client saw them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness import connect, read_all, records, status_of, wait_until
from uvicorn_support import Client, serve, uvicorn
from websocket_client import KEY, WebSocket

Dial = Callable[..., WebSocket]

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=uvicorn()["ws"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of one server, which in the end has recorded every handshake once."""
    with serve("--ws", request.param) as server:
        asking = Client(server)
        yield asking
        server.stop()
        assert sorted(one["query"] for one in records(server.state_dir)) == sorted(asking.asked)


@pytest.fixture
def dial(client: Client) -> Iterator[Callable[..., WebSocket]]:
    """Asks for a WebSocket; hung up after the test."""
    opened = []

    def call(path: str, *headers: str) -> WebSocket:
        opened.append(connect(client.server.address))
        return WebSocket(opened[-1], client.mark(path), *(headers or KEY))

    yield call
    for connection in opened:
        connection.close()


def close_of(record: dict[str, Any]) -> tuple[str, int | None, int | None]:
    """How it ended."""
    return record["outcome"], record["status"], record.get("close_code")


def test_a_conversation_is_one_record(client: Client, dial: Dial) -> None:
    """From the handshake to the close, with what was said counted in both directions."""
    socket = dial("/echo")
    for text in ("one", "zwölf"):
        socket.say(text)
        assert socket.hear() == text
    socket.close(1000)
    record = client.record()
    assert close_of(record) == ("ok", 101, 1000)
    assert (record["scheme"], record["path"], record["method"]) == ("ws", "/echo", "GET")
    assert (record["messages_in"], record["messages_out"]) == (2, 2)
    assert (record["request_bytes"], record["response_bytes"]) == (9, 9)


@pytest.mark.parametrize("code", [3000, None])
def test_the_clients_close_code_is_recorded(client: Client, dial: Dial, code: int | None) -> None:
    """Also that there was none: 1005."""
    socket = dial("/echo")
    socket.close(code)
    assert close_of(client.record()) == ("ok", 101, code or 1005)


def test_the_servers_close_code_is_recorded(client: Client, dial: Dial) -> None:
    """The application closed first."""
    assert dial("/bye").closed_with() == 4001
    assert close_of(client.record()) == ("ok", 101, 4001)


def test_a_client_that_is_just_gone_has_disconnected(client: Client, dial: Dial) -> None:
    """Without a close frame: 1006, whatever uvicorn told the application."""
    socket = dial("/echo")
    assert socket.status == 101
    socket.break_off()
    assert close_of(client.record()) == ("disconnected", 101, 1006)


def test_a_refused_handshake_has_the_status_the_client_got(client: Client, dial: Dial) -> None:
    """403: the application closed before it accepted."""
    assert dial("/refuse").status == 403
    assert close_of(client.record()) == ("ok", 403, None)


def test_a_denial_response_has_its_own_status(client: Client, dial: Dial) -> None:
    """Where the server has the extension."""
    if tuple(uvicorn()["version"]) < (0, 29):
        pytest.skip("this uvicorn has no denial responses")
    assert dial("/deny").status == 418
    record = client.record()
    assert close_of(record) == ("ok", 418, None)
    assert record["response_bytes"] == 6


def test_an_exception_before_the_handshake_is_a_500(client: Client, dial: Dial) -> None:
    """The server answers in the application's place."""
    assert dial("/early").status == 500
    record = client.record()
    assert close_of(record) == ("error", 500, None)
    assert record["exception"]["message"] == "before the handshake"


def test_an_exception_in_a_conversation_is_an_error(client: Client, dial: Dial) -> None:
    """With the code the client saw."""
    socket = dial("/boom")
    code = socket.closed_with()
    record = client.record()
    assert close_of(record) == ("error", 101, code)
    assert record["exception"]["message"] == "socket boom"


def test_an_application_that_just_returns_leaves_its_client(client: Client, dial: Dial) -> None:
    """No exception, no close: the record says so."""
    dial("/quiet").say("now")
    record = client.record()
    assert close_of(record) == ("ok", 101, None)
    assert "without closing" in record["reason"]


def test_an_invalid_handshake_is_refused_and_recorded(client: Client, dial: Dial) -> None:
    """The protocol's library turns it down before the application is called."""
    socket = dial("/echo", "Sec-WebSocket-Version: 13")
    record = client.record()
    assert (record["outcome"], record["status"]) == ("rejected", socket.status)
    assert (record["path"], record["scheme"]) == ("/echo", "ws")
    assert 400 <= socket.status < 500


@pytest.mark.parametrize(("method", "version"), [("POST", "13"), ("GET", "8")])
def test_a_refused_handshake_is_recorded_as_it_was_asked_and_answered(
    client: Client, method: str, version: str, request: pytest.FixtureRequest
) -> None:
    """Its own method, and the status of the library that turned it down."""
    implementation = request.node.callspec.params["client"]
    if (implementation, method) == ("websockets-sansio", "POST") and tuple(uvicorn()["version"]) <= (0, 38):
        pytest.skip("uvicorn 0.38 never answers this one, without us neither")
    asking = ("Connection: Upgrade", "Upgrade: websocket", KEY[0], f"Sec-WebSocket-Version: {version}")
    with client.send(method, "/echo", *asking, close=False) as connection:
        status = status_of(read_all(connection))
    record = client.record()
    assert (record["outcome"], record["status"], record["method"]) == ("rejected", status, method)
    assert (record["path"], record["scheme"]) == ("/echo", "ws")


def test_a_running_conversation_is_seen_when_the_server_stops(client: Client, dial: Dial) -> None:
    """The last test of its server: it closes all that is open, with 1012."""
    socket = dial("/echo")
    assert socket.status == 101
    client.server.process.terminate()
    code = socket.closed_with()
    assert client.server.process.wait(15) is not None

    def found() -> list[dict[str, Any]]:
        return [one for one in records(client.server.state_dir) if one["query"] == client.asked[-1]]

    assert close_of(wait_until(found)[0]) == ("ok", 101, code)
