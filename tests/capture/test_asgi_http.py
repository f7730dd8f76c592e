"""What becomes of an HTTP request, and that neither side of it notices."""

from __future__ import annotations

import asyncio
import contextvars
from pathlib import Path
from typing import Any

import pytest
from asgi_kit import GONE, HTTP, REQUEST, Wire, body, saying, start

from server_tracing.capture.asgi_server import Server
from server_tracing.record import Outcome

HELLO = saying(start(), body(b"hello"))


def test_a_request_is_recorded_as_it_came() -> None:
    """Method, path and query as sent, scheme, client and headers are the scope's."""
    wire = Wire()
    wire.run(HELLO)
    assert wire.ended().begun == ("GET", b"/a%20b?q=1", "1.1", "http", "192.0.2.1", 4711, HTTP["headers"])


def test_an_answered_request_is_ok() -> None:
    """With the status and the bytes of the body."""
    wire = Wire()
    wire.run(HELLO)
    ended = wire.ended()
    assert (ended.outcome, ended.status, ended.sent, ended.received) == (Outcome.OK, 200, 5, 0)
    assert ended.slot.first_byte <= ended.slot.stop


def test_every_event_passes_one_for_one() -> None:
    """The very objects, in both directions, and what either side returns."""
    told = [REQUEST, {"type": "http.request", "body": b"more"}, GONE]
    said = [{"type": "http.response.debug", "info": {}}, start(), body(b"a", more_body=True), body(b"b")]
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> str:
        seen.extend([await receive() for _ in told])
        seen.extend([await send(message) for message in said])
        return "a value"

    wire = Wire(*told)
    assert wire.run(app) == "a value"
    assert all(one is other for one, other in zip(seen[: len(told)], told, strict=True))
    assert all(one is other for one, other in zip(wire.sent, said, strict=True))
    assert set(seen[len(told) :]) == {"what the server's send returns"}


@pytest.mark.parametrize("scope", [{"type": "unheard.of"}, HTTP])
def test_what_is_not_recorded_gets_the_servers_own_functions(scope: dict[str, Any]) -> None:
    """A scope of another type, a request there is no room for."""
    wire, given = Wire(full=True), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given.extend([receive, send])

    wire.run(app, scope)
    assert given == [wire.receive, wire.send]
    assert not wire.recorder.ended


@pytest.mark.parametrize("missing", ["client", "raw_path", "scheme"])
def test_what_a_server_need_not_tell_is_not_needed(missing: str) -> None:
    """The specification's optional keys; `client` is None on a unix socket."""
    for scope in ({key: value for key, value in HTTP.items() if key != missing}, {**HTTP, missing: None}):
        if scope.get("scheme", "http") is None:
            continue
        wire = Wire()
        wire.run(HELLO, scope)
        begun = wire.ended().begun
        assert (begun.method, begun.scheme) == ("GET", "http")
        assert begun.target.startswith(b"/a%20b")
        assert (begun.client, begun.port) == (("", 0) if missing == "client" else ("192.0.2.1", 4711))


@pytest.mark.parametrize("scope", [{"type": "http"}, {**HTTP, "client": "nobody"}, {**HTTP, "headers": None}])
def test_a_scope_out_of_order_reaches_the_application(scope: dict[str, Any]) -> None:
    """It costs a record at most."""
    wire = Wire()
    wire.run(HELLO, scope)
    assert len(wire.sent) == 2


def test_headers_that_can_be_read_once_are_left_to_those_they_are_for() -> None:
    """The request's and the response's; the specification says iterable."""
    left: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        left.extend(scope["headers"])
        await send(start(headers=iter([(b"content-type", b"text/event-stream")])))
        await send(body(b"x", more_body=True))
        await send(body())

    wire = Wire()
    wire.run(app, {**HTTP, "headers": iter(HTTP["headers"])})
    assert left == HTTP["headers"]
    assert list(wire.sent[0]["headers"]) == [(b"content-type", b"text/event-stream")]


def test_no_context_variable_is_set() -> None:
    """Whatever task or thread the application runs its work in."""
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(len(contextvars.copy_context()))

    async def bare() -> None:
        await app({}, None, None)

    Wire().run(app)
    asyncio.run(bare())
    assert seen[0] == seen[1]


# ---------------------------------------------------------------- bytes


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_body_the_server_keeps_is_not_counted(method: str, status: int) -> None:
    """HEAD, 204, 304."""
    wire = Wire()
    wire.run(saying(start(status), body(b"hello")), {**HTTP, "method": method})
    assert (wire.ended().status, wire.ended().sent) == (status, 0)


def test_a_body_in_parts_is_added_up() -> None:
    """In both directions."""
    parts = [{"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.request"}]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in parts:
            await receive()
        for message in (start(), body(b"12", more_body=True), body(b"345", more_body=True), body()):
            await send(message)

    wire = Wire(*parts)
    wire.run(app)
    assert (wire.ended().sent, wire.ended().received) == (5, 3)


def test_files_the_server_sends_are_counted(tmp_path: Path) -> None:
    """`pathsend` and `zerocopysend`, whole or in part."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    wire = Wire()
    wire.run(saying(start(), {"type": "http.response.pathsend", "path": str(path)}))
    assert (wire.ended().outcome, wire.ended().sent) == (Outcome.OK, 100)
    with path.open("rb") as file:
        for asked, sent in (({}, 100), ({"offset": 40}, 60), ({"count": 7}, 7)):
            wire = Wire()
            wire.run(saying(start(), {"type": "http.response.zerocopysend", "file": file, **asked}))
            assert (wire.ended().outcome, wire.ended().sent) == (Outcome.OK, sent)


def test_an_event_stream_is_told_apart() -> None:
    """By its content type, and only where it comes in parts."""
    head = start(headers=[(b"Content-Type", b"text/event-stream; charset=utf-8")])
    wire = Wire()
    wire.run(saying(head, body(b"data: 1", more_body=True), body()))
    assert wire.ended().details["event_stream"] is True


# ---------------------------------------------------------------- endings


def test_an_exception_passes_and_is_recorded() -> None:
    """The same object; 500 is what the server will answer; its stack begins in the application."""
    raised = ValueError("boom")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise raised

    wire = Wire()
    with pytest.raises(ValueError, match="boom") as caught:
        wire.run(app)
    assert caught.value is raised
    ended = wire.ended()
    assert (ended.outcome, ended.status) == (Outcome.ERROR, 500)
    assert [frame.function.rpartition(".")[2] for frame in ended.details["fault"].frames] == ["app"]


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ([], 500, "without a response"),
        ([start(201)], 201, "in the middle"),
        ([start(), body(b"a", more_body=True)], 200, "in the middle"),
    ],
)
def test_an_application_that_just_returns_is_an_error(said: list[Any], status: int, reason: str) -> None:
    """With the status the client gets, and why."""
    wire = Wire()
    wire.run(saying(*said))
    ended = wire.ended()
    assert (ended.outcome, ended.status) == (Outcome.ERROR, status)
    assert reason in ended.details["reason"]


def test_a_missing_more_body_ends_the_response() -> None:
    """It means False."""
    wire = Wire()
    wire.run(saying(start(), {"type": "http.response.body"}))
    assert wire.ended().outcome is Outcome.OK


def test_a_response_that_was_sent_keeps_its_end() -> None:
    """What the application does and raises afterwards is an error, later than the last byte."""
    stop: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await HELLO(scope, receive, send)
        stop.extend(slot.stop for slot, _ in wire.recorder.open.values())
        raise LookupError

    wire = Wire()
    with pytest.raises(LookupError):
        wire.run(app)
    ended = wire.ended()
    assert (ended.outcome, ended.status, ended.slot.stop) == (Outcome.ERROR, 200, *stop)


@pytest.mark.parametrize("said", [[], [start()], [start(), body(b"part", more_body=True)]])
def test_a_client_that_left_has_disconnected(said: list[Any]) -> None:
    """Whether the application then returns or raises; with the status the client saw, if any."""
    for error in (None, RuntimeError("client is away")):

        async def app(scope: Any, receive: Any, send: Any, error: Any = error) -> None:
            for message in said:
                await send(message)
            assert await receive() is GONE
            await send(body(b"to nobody"))
            if error is not None:
                raise error

        wire = Wire(GONE)
        if error is None:
            wire.run(app)
        else:
            with pytest.raises(RuntimeError):
                wire.run(app)
        ended = wire.ended()
        assert (ended.outcome, ended.status) == (Outcome.DISCONNECTED, 200 if said else 0)
        assert ended.sent == (4 if len(said) == 2 else 0)
        assert ("fault" in ended.details) == (error is not None)


def test_a_disconnect_after_the_response_is_none() -> None:
    """Every client leaves in the end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await HELLO(scope, receive, send)
        await receive()

    wire = Wire(GONE)
    wire.run(app)
    assert wire.ended().outcome is Outcome.OK


@pytest.mark.parametrize(
    ("messages", "said", "outcome", "status"),
    [
        ([], [], Outcome.ERROR, 0),
        ([GONE], [], Outcome.DISCONNECTED, 0),
        ([], [start()], Outcome.ERROR, 200),
        ([], [start(), body(b"hello")], Outcome.OK, 200),
    ],
)
def test_a_cancelled_request_is_what_it_was_cancelled_in(
    messages: list[Any], said: list[Any], outcome: Outcome, status: int
) -> None:
    """An error, unless the client had left or had its answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in messages:
            await receive()
        for message in said:
            await send(message)
        raise asyncio.CancelledError

    wire = Wire(*messages)
    with pytest.raises(asyncio.CancelledError):
        wire.run(app)
    assert (wire.ended().outcome, wire.ended().status) == (outcome, status)


@pytest.mark.parametrize("message", [None, 5, {}, {"type": "http.response.start"}, start("many"), body(None)])  # type: ignore[arg-type]
def test_a_strange_message_is_for_the_server_to_judge(message: Any) -> None:
    """It arrives as it is, and the request is recorded all the same."""
    wire = Wire()
    wire.run(saying(message, start(), body(b"hello")))
    assert wire.sent[0] is message
    assert wire.recorder.only()


def test_what_a_server_raises_is_the_applications_to_see() -> None:
    """A send that fails: the exception comes where it would have come."""

    class ClosedError(Exception):
        pass

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(ClosedError):
            await send(start())
        raise ClosedError

    class Refusing(Wire):
        async def send(self, message: Any) -> Any:
            raise ClosedError

    wire = Refusing()
    with pytest.raises(ClosedError):
        wire.run(app)
    assert wire.ended().outcome is Outcome.ERROR


# ---------------------------------------------------------------- what a server adds


class Gone(Server):
    """A server that knows before the application does."""

    error_bytes = 21
    cancelled_status = 500

    class Client:
        disconnected = False

    def __init__(self) -> None:
        self.client = self.Client()

    def connection(self, send: Any) -> Any:
        return self.client


def test_a_server_may_know_that_the_client_left() -> None:
    """The application never asked; what it sent afterwards is not counted."""
    server = Gone()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"1234", more_body=True))
        server.client.disconnected = True
        await send(body(b"5678"))

    wire = Wire(server=server)
    wire.run(app)
    ended = wire.ended()
    assert (ended.outcome, ended.status, ended.sent) == (Outcome.DISCONNECTED, 200, 4)


def test_a_server_may_have_broken_the_request_off() -> None:
    """A body that turned out malformed: refused, with the status it answered."""

    class Breaking(Gone):
        def refusal(self, connection: Any) -> tuple[int, str]:
            return 400, "not a chunk"

    wire = Wire(server=Breaking())
    wire.server.client.disconnected = True  # type: ignore[union-attr]
    wire.run(saying())
    ended = wire.ended()
    assert (ended.outcome, ended.status, ended.details["reason"]) == (Outcome.REJECTED, 400, "not a chunk")


@pytest.mark.parametrize(("lost", "outcome"), [(False, Outcome.OK), (True, Outcome.DISCONNECTED)])
def test_a_server_may_have_a_response_still_to_send(lost: bool, outcome: Outcome) -> None:
    """Then the record ends when it has, or when it cannot any more."""
    ends: list[Any] = []

    class Slow(Gone):
        def is_sent(self, connection: Any) -> bool:
            return False

        def when_sent(self, connection: Any, end: Any) -> None:
            ends.append(end)

    wire = Wire(server=Slow())
    wire.run(HELLO)
    assert len(wire.recorder.open) == 1
    ends[0](lost, True)
    assert wire.ended().outcome is outcome


def test_a_server_that_is_not_as_expected_costs_no_more_than_details() -> None:
    """Whatever its side raises, the request has ended and the application is none the wiser."""

    class Broken(Gone):
        def forget(self, connection: Any) -> None:
            raise AttributeError("renamed in this version")

    wire = Wire(server=Broken())
    wire.run(saying(start()))
    assert len(wire.recorder.ended) == 1
