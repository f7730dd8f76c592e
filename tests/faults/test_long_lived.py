"""WebSockets and streams that stay while thousands come and go: they keep no room in the journal."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from accounts import accounts, recover
from harness import REPOSITORY, Server, body_of, connect, get, read_all, records, start
from report import report, size
from websocket_client import KEY, WebSocket

pytestmark = pytest.mark.alone

TRAFFIC = size(4_500, 99_000)
AT_ONCE, PAUSE = 50, 0.02  # requests in a pipeline, and seconds between two: 2,000 a second at most
JOURNAL = "1MiB"  # room for some 4,000 of them
QUERY = "q" * 1500
WITHIN, BEYOND = (60, 20), size((250, 50), (600, 200))  # WebSockets and streams
UNASKED = ["--ws-ping-interval", "9999"]  # our clients answer no pings
SETTINGS = {
    "SERVER_TRACING_APP": "patient_app:app",
    "SERVER_TRACING_JOURNAL_SIZE": JOURNAL,
    "PYTHONPATH": f"{REPOSITORY}:{Path(__file__).parent}",
}


def serve(settings: dict[str, str]) -> Server:
    """One process, with a journal that its traffic fills many times over."""
    door = ["uvicorn", "--factory", "server_tracing.uvicorn:create_app", "--no-access-log", *UNASKED]
    return start(door, env={**SETTINGS, **settings})


def stream(server: Server, number: int) -> socket.socket:
    """A response that has begun, and goes on."""
    connection = connect(server.address)
    connection.sendall(get(f"/stream?{number}-{QUERY}"))
    assert connection.recv(10) == b"HTTP/1.1 2"
    return connection


def pass_by(server: Server, requests: int) -> int:
    """Short requests on one connection; how many were answered."""
    answered = 0
    with connect(server.address) as connection:
        for first in range(0, requests, AT_ONCE):
            last = first + AT_ONCE >= requests
            asked = [b"GET /short HTTP/1.1\r\nHost: test\r\n\r\n"] * (AT_ONCE - last)
            connection.sendall(b"".join(asked) + (get("/short") if last else b""))
            answered += read_answers(connection, AT_ONCE)
            time.sleep(PAUSE)
    return answered


def read_answers(connection: socket.socket, wanted: int) -> int:
    """So many answers; how many there were."""
    received = b""
    while received.count(b"begun ") < wanted and (part := connection.recv(1 << 20)):
        received += part
    return received.count(b"HTTP/1.1 200")


@pytest.mark.servers
@pytest.mark.parametrize(("sockets", "streams"), [WITHIN, BEYOND], ids=["a few", "more than a quarter of it"])
def test_what_stays_open_never_fills_the_journal(own_memory, sockets, streams):
    """Each of them and each of those that passed by is recorded once, and nothing had to be let go."""
    with serve(own_memory) as server, ExitStack() as stack:
        talking = [
            WebSocket(stack.enter_context(connect(server.address)), f"/ws?{one}-{QUERY}", *KEY)
            for one in range(sockets)
        ]
        flowing = [stack.enter_context(stream(server, one)) for one in range(streams)]
        answered = 0
        for _ in range(3):
            answered += pass_by(server, TRAFFIC // 3)
            for one in talking:
                one.say("still here")
                assert one.hear() == "still here"
        for one in talking:
            one.close()
        assert body_of(server.talk(get("/release"))) == b"begun "
        assert all(read_all(one).endswith(b"ended\r\n0\r\n\r\n") for one in flowing)
        total = sockets + streams + answered + 1
        server.stop()
        recover(server.state_dir, {**SETTINGS, **own_memory})
        found = records(server.state_dir)
        (local,) = accounts(server.state_dir, own_memory).values()
    report(
        f"{sockets + streams} WebSockets and streams stay open, a journal of {JOURNAL}",
        requests=total,
        lost=total - len(found),
        dropped=sum(local["dropped"].values()),
        duplicated=len(found) - len({one["span_id"] for one in found}),
        client_errors=TRAFFIC - answered,
    )
    assert (answered, len(found), local["dropped"]) == (TRAFFIC, total, {})
    assert (local["seen"], local["delivered"]) == (total, total)
    stayed = [one for one in found if one["path"] in ("/ws", "/stream")]
    assert {one["outcome"] for one in found} == {"ok"}
    assert len(stayed) == len({(one["path"], one["query"]) for one in stayed}) == sockets + streams
    assert {one["messages_in"] for one in stayed if one["path"] == "/ws"} == {3}
