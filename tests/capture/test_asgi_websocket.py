"""What becomes of a WebSocket."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_kit import WEBSOCKET, Wire, saying

from server_tracing.capture.asgi_server import Server
from server_tracing.record import Outcome

CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}


def left(code: int | None = None) -> dict[str, Any]:
    """The client closed, or is gone."""
    return (
        {"type": "websocket.disconnect"} if code is None else {"type": "websocket.disconnect", "code": code}
    )


def closing(code: int | None = None) -> dict[str, Any]:
    """The application closes."""
    return {"type": "websocket.close"} if code is None else {"type": "websocket.close", "code": code}


def talking(*steps: Any, error: BaseException | None = None) -> Any:
    """An application that says its lines in turn, and listens where there is None."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for step in steps:
            await (receive() if step is None else send(step))
        if error is not None:
            raise error

    return app


def converse(wire: Wire, app: Any, error: type[BaseException] | None = None) -> tuple[Outcome, int, int]:
    """Outcome, status and close code of one WebSocket."""
    if error is None:
        wire.run(app, WEBSOCKET)
    else:
        with pytest.raises(error):
            wire.run(app, WEBSOCKET)
    ended = wire.ended()
    return ended.outcome, ended.status, ended.details["close_code"]


@pytest.mark.parametrize(
    ("heard", "said", "expected"),
    [
        ([CONNECT, left(1000)], [None, ACCEPT, None], (Outcome.OK, 101, 1000)),
        ([CONNECT, left(3001)], [None, ACCEPT, None], (Outcome.OK, 101, 3001)),
        ([CONNECT, left()], [None, ACCEPT, None], (Outcome.OK, 101, 1005)),
        ([CONNECT, left(1006)], [None, ACCEPT, None], (Outcome.DISCONNECTED, 101, 1006)),
        ([CONNECT], [None, ACCEPT, closing()], (Outcome.OK, 101, 1000)),
        ([CONNECT], [None, ACCEPT, closing(4001)], (Outcome.OK, 101, 4001)),
        ([CONNECT, left(1006)], [None, ACCEPT, closing(4001), None], (Outcome.OK, 101, 4001)),
        ([CONNECT], [None, closing()], (Outcome.OK, 403, -1)),
        ([CONNECT, left(1006)], [None, closing(), None], (Outcome.OK, 403, -1)),
        ([CONNECT, left(1006)], [None, None], (Outcome.DISCONNECTED, 0, 1006)),
        ([CONNECT], [None], (Outcome.ERROR, 500, -1)),
        ([CONNECT], [None, ACCEPT], (Outcome.OK, 101, -1)),
    ],
)
def test_an_ending_by_either_side(
    heard: list[Any], said: list[Any], expected: tuple[Outcome, int, int]
) -> None:
    """Outcome, status and close code, first word first."""
    assert converse(Wire(*heard), talking(*said)) == expected


def test_a_denial_response_is_what_the_client_got() -> None:
    """Its status and its bytes."""
    wire = Wire(CONNECT)
    head = {"type": "websocket.http.response.start", "status": 418, "headers": []}
    said = [head, {"type": "websocket.http.response.body", "body": b"teapot"}]
    assert converse(wire, talking(None, *said)) == (Outcome.OK, 418, -1)
    assert wire.ended().sent == 6


def test_messages_and_bytes_are_counted() -> None:
    """Text as it goes over the wire."""
    heard = [{"type": "websocket.receive", "text": "zwölf"}, {"type": "websocket.receive", "bytes": b"12"}]
    said = [{"type": "websocket.send", "text": "ja"}, {"type": "websocket.send", "bytes": b"", "text": None}]
    wire = Wire(CONNECT, *heard, left(1000))
    converse(wire, talking(None, ACCEPT, None, None, *said, None))
    ended = wire.ended()
    assert (ended.received, ended.sent) == (8, 2)
    assert (ended.details["messages_in"], ended.details["messages_out"]) == (2, 2)


def test_an_exception_is_an_error() -> None:
    """Before the handshake with the status the server answers, in a conversation with 101."""
    assert converse(Wire(CONNECT), talking(None, error=ValueError()), ValueError) == (Outcome.ERROR, 500, -1)
    wire = Wire(CONNECT)
    assert converse(wire, talking(None, ACCEPT, error=ValueError("x")), ValueError) == (
        Outcome.ERROR,
        101,
        -1,
    )
    assert wire.ended().details["fault"].message == "x"


class WebSocketDisconnect(Exception):  # noqa: N818 - Starlette's name
    """What frameworks raise where nobody is listening any more."""


@pytest.mark.parametrize("error", [OSError(), WebSocketDisconnect()])
def test_an_exception_that_says_the_client_closed_is_none(error: Exception) -> None:
    """The client closed in order; the application ran into it."""
    wire = Wire(CONNECT, left(1000))
    assert converse(wire, talking(None, ACCEPT, None, error=error), type(error)) == (Outcome.OK, 101, 1000)


def test_a_server_may_know_the_close_code_better() -> None:
    """What the application was told, or was not told, is corrected."""

    class Knowing(Server):
        def close_code(self, connection: Any, told: int) -> int:
            return 1006 if told in (-1, 1005) else told

    for heard in ([CONNECT, left(1005)], [CONNECT]):
        wire = Wire(*heard, server=Knowing())
        said = [None, ACCEPT, *([None] if len(heard) == 2 else [])]
        assert converse(wire, talking(*said)) == (Outcome.DISCONNECTED, 101, 1006)


def test_a_handshake_is_recorded_as_it_came() -> None:
    """With the scheme of a WebSocket and the method it is made with."""
    wire = Wire(CONNECT)
    wire.run(saying(closing()), WEBSOCKET)
    assert wire.ended().begun[:4] == ("GET", b"/a%20b?q=1", "1.1", "ws")


@pytest.mark.parametrize(
    "message", [None, {}, {"type": "websocket.send", "text": 5}, {"type": "websocket.close", "code": "x"}]
)
def test_a_strange_message_is_for_the_server_to_judge(message: Any) -> None:
    """It arrives as it is."""
    wire = Wire(CONNECT)
    wire.run(saying(ACCEPT, message, closing()), WEBSOCKET)
    assert wire.sent[1] is message
    assert wire.ended().outcome is Outcome.OK
