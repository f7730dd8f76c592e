"""Responses that say which trace they belong to: the head gains two headers, and nothing else is touched."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from asgi_kit import HTTP, WEBSOCKET, Wire, start
from fake import FakeRecorder

from server_tracing.capture.announcing import merged
from server_tracing.capture.asgi_server import Connection, Server
from server_tracing.capture.gunicorn_errors import Heading
from server_tracing.capture.uvicorn_server import UvicornServer
from server_tracing.capture.wsgi import wrap

OURS = [("X-Amzn-Trace-Id", "Root=1-2-3"), ("traceresponse", "00-1-2-03")]
IN_BYTES = [(b"x-amzn-trace-id", b"Root=1-2-3"), (b"traceresponse", b"00-1-2-03")]
END = {"type": "http.response.body", "body": b"hello"}


class Announcing(Server):
    """Remembers what it was asked to say itself."""

    said: Any = None

    def announce(self, connection: Any, headers: Any) -> None:
        self.said = headers


def run(
    *messages: Any, scope: dict[str, Any] = HTTP, server: Server | None = None, ours: Any = OURS
) -> list[Any]:
    """What reaches the server of what an application sends."""
    wire = Wire(server=server)
    wire.recorder.announce = lambda slot: ours

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    wire.run(app, scope)
    return wire.sent


def test_the_head_has_them_behind_the_applications_own() -> None:
    """Its message is left as it was, and the body is the same object."""
    head = start(200, [(b"content-type", b"text/plain")])
    sent = run(head, END)
    assert sent[0]["headers"] == [(b"content-type", b"text/plain"), *IN_BYTES]
    assert head["headers"] == [(b"content-type", b"text/plain")]
    assert sent[1] is END


@pytest.mark.parametrize(
    "given",
    [None, (), [(b"a", b"1")], ((b"a", b"1"),), iter([(b"a", b"1")])],
    ids=["none", "empty", "list", "tuple", "iterator"],
)
def test_however_headers_are_given(given: Any) -> None:
    """An iterator is used up once."""
    message = {"type": "http.response.start", "status": 200, **({} if given is None else {"headers": given})}
    sent = run(message, END)
    assert sent[0]["headers"][-2:] == IN_BYTES
    assert len(sent[0]["headers"]) == (3 if given else 2)


@pytest.mark.parametrize("headers", [[(b"a",), 5], 7, iter([5])], ids=["no pairs", "no list", "odd iterator"])
def test_what_cannot_be_read_is_for_the_server_to_judge(headers: Any) -> None:
    """It gets what the application gave."""
    message = {"type": "http.response.start", "status": 200, "headers": headers}
    sent = run(message, END)
    told = sent[0]["headers"]
    assert told == headers if not hasattr(headers, "__next__") else told == [5]


def test_the_same_names_give_way() -> None:
    """In whatever case they are written."""
    theirs = [("x-amzn-trace-ID", "Root=1-0-0"), ("X-Other", "1"), ("TraceResponse", "x")]
    assert merged(theirs, OURS) == [("X-Other", "1"), *OURS]


@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.http.response.start"])
def test_a_handshake_has_them_too(kind: str) -> None:
    """Accepted or refused."""
    sent = run({"type": kind, "status": 403}, scope=WEBSOCKET)
    assert sent[0]["headers"] == IN_BYTES


@pytest.mark.parametrize("message", [{"type": "websocket.close"}, {"type": "websocket.send", "text": "x"}])
def test_what_has_no_head_has_none(message: Any) -> None:
    """A close says nothing."""
    assert run(message, scope=WEBSOCKET)[0] is message


def test_where_the_application_gives_no_head_the_server_is_asked() -> None:
    """Its 500 says it then."""
    server = Announcing()
    run(server=server)
    assert server.said == OURS


def test_uvicorn_puts_them_before_every_head_of_the_cycle() -> None:
    """Of that cycle alone: the list it shares with others is left as it is."""
    shared = [(b"server", b"uvicorn")]
    cycle = SimpleNamespace(default_headers=shared)
    UvicornServer().announce(cycle, OURS)
    UvicornServer().announce(Connection(), OURS)
    assert cycle.default_headers == [(b"server", b"uvicorn"), *IN_BYTES]
    assert shared == [(b"server", b"uvicorn")]


def test_nothing_is_done_where_nothing_is_to_be_said() -> None:
    """The messages are those of the application."""
    head = start()
    wire = Wire()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(head)
        await send(END)

    wire.run(app)
    assert wire.sent[0] is head


# ------------------------------------------------------------------ WSGI


def called(*arguments: Any, ours: Any = OURS) -> tuple[Any, ...]:
    """What `start_response` gets of what an application calls it with."""
    recorder, got = FakeRecorder(), []
    recorder.announce = lambda slot: ours

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(*arguments)
        return [b""]

    body = wrap(app, recorder)({"REQUEST_METHOD": "GET"}, lambda *given: got.append(given))  # type: ignore[arg-type]
    list(body)
    return got[0]


def test_start_response_gets_them_in_a_list_of_its_own() -> None:
    """With the status, and an `exc_info` where there is one."""
    headers = [("Content-Type", "text/plain")]
    assert called("200 OK", headers) == ("200 OK", [*headers, *OURS])
    assert called("500 No", headers, ("exc",)) == ("500 No", [*headers, *OURS], ("exc",))
    assert headers == [("Content-Type", "text/plain")]


@pytest.mark.parametrize("arguments", [("200 OK", ()), ("200 OK", [5]), ("200 OK", {"a": "b"}.items())])
def test_odd_arguments_stay_odd(arguments: tuple[Any, ...]) -> None:
    """The specification wants a list of pairs; the server says what it thinks of others."""
    assert called(*arguments) == arguments


def test_an_error_page_has_them_in_its_head() -> None:
    """Written in one piece, as gunicorn does; the body may look like a head."""
    written: list[bytes] = []
    sock = SimpleNamespace(sendall=written.append, gettimeout=lambda: 3.0)
    heading = Heading(sock, b"A: 1\r\n")
    heading.sendall(b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\nbody\r\n\r\n")
    assert written == [b"HTTP/1.1 500 No\r\nConnection: close\r\nA: 1\r\n\r\nbody\r\n\r\n"]
    assert heading.gettimeout() == 3.0


def test_a_fault_of_ours_leaves_the_response_as_it_is() -> None:
    """Whatever is wrong with what is to be said."""
    wire = Wire()

    def broken(slot: Any) -> Any:
        raise RuntimeError("ours")

    wire.recorder.announce = broken

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(head)
        await send(END)

    head = start()
    wire.run(app)
    assert wire.sent == [head, END]
    assert wire.sent[0] is head
