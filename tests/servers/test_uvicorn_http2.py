"""HTTP/2 under uvicorn, where it has it: every stream is one record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import connect
from uvicorn_support import Client, serve, uvicorn

connection = pytest.importorskip("h2.connection")
events = pytest.importorskip("h2.events")

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif("zttp" not in uvicorn()["http"], reason="this uvicorn has no HTTP/2"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Of a server with prior knowledge, no TLS."""
    with serve("--http", "zttp", "--http2") as server:
        yield Client(server)


def ask(client: Client, path: str, leave: bool = False) -> tuple[int, int]:
    """Status and bytes of one stream's answer; with `leave` it is reset as soon as there is a status."""
    status, received = 0, 0
    speaking = connection.H2Connection()
    speaking.initiate_connection()
    head = [
        (":method", "GET"),
        (":path", client.mark(path)),
        (":scheme", "http"),
        (":authority", "shop.test"),
    ]
    speaking.send_headers(1, head, end_stream=True)
    with connect(client.server.address) as socket:
        socket.sendall(speaking.data_to_send())
        while data := socket.recv(65536):
            for event in speaking.receive_data(data):
                if isinstance(event, events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                    if leave:
                        speaking.reset_stream(1)
                elif isinstance(event, events.DataReceived):
                    received += len(event.data)
                    speaking.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, (events.StreamEnded, events.StreamReset)):
                    return status, received
            socket.sendall(speaking.data_to_send())
            if leave and status:
                break
    return status, received


@pytest.mark.parametrize(
    ("path", "outcome"), [("/hello", "ok"), ("/boom", "error"), ("/midstream", "error"), ("/big", "ok")]
)
def test_a_stream_is_recorded_as_the_client_saw_it(client: Client, path: str, outcome: str) -> None:
    """Version, host, status and bytes."""
    status, received = ask(client, path)
    record = client.record()
    assert (record["outcome"], record["status"], record["response_bytes"]) == (outcome, status, received)
    assert (record["http_version"], record["host"]) == ("2", "shop.test")


def test_a_stream_that_is_reset_has_disconnected(client: Client) -> None:
    """The connection may well go on."""
    ask(client, "/drips", leave=True)
    assert client.record()["outcome"] == "disconnected"
