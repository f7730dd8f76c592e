"""One HTTP request through ASGI: what goes by, and what became of it.

- The last byte was handed to the server while the client was there: `ok`, or `error` if the application
  raises afterwards (a background task, say). Either way the duration ends with that byte.
- The client left first, known from an `http.disconnect` or from the server itself: `disconnected`, also if
  the application raised or was cancelled because of it (the exception is kept).
- The application raised, was cancelled, or returned in the middle: `error`, with the status the server
  answers in its place where no head was sent.
"""

from __future__ import annotations

import os
from asyncio import CancelledError
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from server_tracing.capture.asgi_server import (
    Connection,
    Message,
    Receive,
    Scope,
    Send,
    Server,
    application_fault,
)
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder, Slot

OK, ERROR, DISCONNECTED, REJECTED = Outcome.OK, Outcome.ERROR, Outcome.DISCONNECTED, Outcome.REJECTED
BODYLESS = frozenset((204, 304))
FILES = frozenset(("http.response.pathsend", "http.response.zerocopysend"))
CANCELLATIONS = (CancelledError, GeneratorExit)
NO_RESPONSE = "the application returned without a response"
HALF_RESPONSE = "the application returned in the middle of its response"
CANCELLED = "cancelled"


class Exchange:
    """The `receive` and `send` of one request; nothing they see is changed or consumed."""

    __slots__ = (
        "_connection",
        "_headers",
        "_in_parts",
        "_receive",
        "_recorder",
        "_scope",
        "_send",
        "_server",
        "_slot",
    )

    def __init__(
        self, recorder: Recorder, server: Server, slot: Slot, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._recorder = recorder
        self._server = server
        self._slot = slot
        self._scope = scope
        self._receive = receive
        self._send = send
        self._connection = server.connection(receive, send)
        self._in_parts = False

    def send(self, message: Message) -> Awaitable[None]:
        """Note what goes out. Hands on the server's awaitable: a coroutine of ours costs twice as much."""
        try:
            slot = self._slot
            if not slot.stop and not self._connection.disconnected:
                kind = message["type"]
                if kind == "http.response.body":
                    slot.sent += len(message.get("body", b""))
                    if message.get("more_body"):
                        self._in_parts = True
                    else:
                        slot.stop = self._recorder.clock()
                elif kind == "http.response.start":
                    if not slot.status:
                        slot.first_byte = self._recorder.clock()
                        slot.status = int(message["status"])
                        self._headers = message.get("headers")
                elif kind in FILES:
                    self._note_file(message)
        except Exception:  # noqa: BLE001, S110 - a strange message is for the server to judge
            pass
        return self._send(message)

    def _note_file(self, message: Message) -> None:
        path, count = message.get("path"), message.get("count")
        if path is not None:
            self._slot.sent += os.stat(path).st_size
        elif count is not None:
            self._slot.sent += count
        else:
            start = message.get("offset") or 0
            self._slot.sent += max(0, os.fstat(message["file"].fileno()).st_size - start)
        if not message.get("more_body"):
            self._slot.stop = self._recorder.clock()

    async def receive(self) -> Message:
        """Count what comes in, and see the client leave."""
        message = await self._receive()
        try:
            kind = message["type"]
            if kind == "http.request":
                self._slot.received += len(message.get("body", b""))
            elif kind == "http.disconnect" and not self._slot.stop and type(self._connection) is Connection:
                self._connection.disconnected = True
        except Exception:  # noqa: BLE001, S110 - the same the other way
            pass
        return message

    def finish(self) -> None:
        """The application returned."""
        slot, connection = self._slot, self._connection
        if slot.stop:
            if self._server.in_transit(connection):
                self._server.when_sent(connection, self._sent)
            else:
                self._end(OK)
        elif connection.disconnected:
            self._broken_off()
        elif slot.status:
            self._end(ERROR, reason=HALF_RESPONSE)
        else:
            self._unanswered(NO_RESPONSE, 500)

    def fail(self, error: BaseException) -> None:
        """The application raised, or was cancelled."""
        slot, fault = self._slot, application_fault(error)
        cancelled = isinstance(error, CANCELLATIONS)
        if slot.stop and cancelled:
            self._end(OK, reason="cancelled after its response")
        elif not slot.stop and self._connection.disconnected:
            self._broken_off(fault=fault)
        elif slot.status:
            self._end(ERROR, reason=CANCELLED if cancelled else "", fault=fault)
        else:
            status = self._server.cancelled_status if cancelled else 500
            self._unanswered(CANCELLED if cancelled else "", status, fault=fault)

    def _sent(self, lost: bool) -> None:
        self._slot.stop = 0  # the last byte goes out now, not when the application handed it over
        self._end(DISCONNECTED if lost else OK)

    def _broken_off(self, **details: Any) -> None:
        refusal = self._server.refusal(self._connection)
        if refusal is None:
            self._end(DISCONNECTED, **details)
        else:
            self._slot.status = self._slot.status or refusal[0]
            self._end(REJECTED, reason=refusal[1], **details)

    def _unanswered(self, reason: str, status: int, **details: Any) -> None:
        """No head was sent: the server answers, if it can."""
        self._slot.status = status
        self._slot.sent = self._server.error_bytes if status == 500 else 0
        self._end(ERROR, reason=reason, **details)

    def _end(self, outcome: Outcome, **details: Any) -> None:
        slot, scope = self._slot, self._scope
        status = slot.status
        sent = 0 if scope["method"] == "HEAD" or status in BODYLESS else slot.sent
        if self._in_parts and is_event_stream(self._headers):
            details["event_stream"] = True
        route = scope.get("route")
        if route is not None:
            details["route"] = str(getattr(route, "path", ""))
        self._recorder.end(slot, outcome, status, sent, slot.received, **details)


def is_event_stream(headers: Any) -> bool:
    """Whether these headers say so; not looked at where looking could use them up."""
    if not isinstance(headers, (list, tuple)):
        return False
    try:
        kinds = [value for name, value in headers if name.lower() == b"content-type"]
        return bool(kinds) and kinds[0].startswith(b"text/event-stream")
    except Exception:  # noqa: BLE001 - the server will say what is wrong with them
        return False
