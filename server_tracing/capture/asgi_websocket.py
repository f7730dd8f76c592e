"""One WebSocket through ASGI, from the handshake to the close.

`status` is 101, or what the client was refused with: 403, the status of a denial response, or the server's
500 when the application failed first. Closed by either side with a close frame it is `ok`; a client that is
gone without one (1006) has `disconnected`. The record lasts until the close was told, or the application
ended.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from server_tracing.capture.asgi_http import CANCELLATIONS, CANCELLED
from server_tracing.capture.asgi_server import Message, Receive, Scope, Send, Server, application_fault
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder, Slot

SWITCHING, FORBIDDEN = 101, 403
NORMAL, NO_CODE, ABNORMAL = 1000, 1005, 1006  # RFC 6455, section 7.4.1
NO_HANDSHAKE = "the application returned without a handshake"
NO_CLOSE = "the application returned without closing"


class Conversation:
    """The `receive` and `send` of one WebSocket."""

    __slots__ = (
        "_close_code",
        "_connection",
        "_in",
        "_out",
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
        self._in = 0
        self._out = 0
        self._close_code = -1

    def send(self, message: Message) -> Awaitable[None]:
        """Note what goes out, and hand on the server's own awaitable."""
        try:
            kind = message["type"]
            if kind == "websocket.send":
                self._out += 1
                self._slot.sent += size(message)
            else:
                self._note(kind, message)
        except Exception:  # noqa: BLE001, S110 - a strange message is for the server to judge
            pass
        return self._send(message)

    def _note(self, kind: str, message: Message) -> None:
        if kind == "websocket.accept":
            self._answered(SWITCHING)
        elif kind == "websocket.http.response.start":
            self._answered(int(message["status"]))
        elif kind == "websocket.http.response.body":
            self._slot.sent += len(message.get("body", b""))
        elif kind == "websocket.close":
            if self._slot.status == SWITCHING:
                self._closed(message.get("code") or NORMAL)
            else:
                self._answered(FORBIDDEN)

    def _answered(self, status: int) -> None:
        if not self._slot.status:
            self._slot.status = status
            self._slot.first_byte = self._recorder.clock()

    async def receive(self) -> Message:
        """Count what comes in, and see the client leave."""
        message = await self._receive()
        try:
            kind = message["type"]
            if kind == "websocket.receive":
                self._in += 1
                self._slot.received += size(message)
            elif kind == "websocket.disconnect":
                self._closed(self._server.close_code(self._connection, message.get("code") or NO_CODE))
        except Exception:  # noqa: BLE001, S110 - the same the other way
            pass
        return message

    def _closed(self, code: int) -> None:
        """The first word counts: what comes after a close only echoes it."""
        if not self._slot.stop and self._slot.status in (0, SWITCHING):
            self._close_code = int(code)
            self._slot.stop = self._recorder.clock()

    def finish(self) -> None:
        """The application returned."""
        status, code = self._slot.status, self._known_code()
        if self._left_before_handshake() or code == ABNORMAL:
            self._end(Outcome.DISCONNECTED, code)
        elif not status:
            self._unanswered(500, reason=NO_HANDSHAKE)
        elif status == SWITCHING and code < 0:
            self._end(Outcome.OK, self._server.dropped_code, reason=NO_CLOSE)
        else:
            self._end(Outcome.OK, code)

    def fail(self, error: BaseException) -> None:
        """The application raised, or was cancelled."""
        code, cancelled = self._known_code(), isinstance(error, CANCELLATIONS)
        fault, reason = application_fault(error), CANCELLED if cancelled else ""
        if self._left_before_handshake() or code == ABNORMAL:
            self._end(Outcome.DISCONNECTED, code, fault=fault)
        elif code >= 0 and (cancelled or says_client_left(error)):
            self._end(Outcome.OK, code)
        elif self._slot.status:
            code = self._server.dropped_code if code < 0 and self._slot.status == SWITCHING else code
            self._end(Outcome.ERROR, code, reason=reason, fault=fault)
        else:
            self._unanswered(self._server.cancelled_status if cancelled else 500, reason=reason, fault=fault)

    def _known_code(self) -> int:
        if self._slot.status != SWITCHING or self._close_code >= 0:
            return self._close_code
        return self._server.close_code(self._connection, -1)

    def _left_before_handshake(self) -> bool:
        return not self._slot.status and (self._close_code >= 0 or self._connection.disconnected)

    def _unanswered(self, status: int, **details: Any) -> None:
        """No handshake was sent: the server answers, if it can."""
        self._slot.status = status
        self._slot.sent = self._server.error_bytes if status == 500 else 0
        self._end(Outcome.ERROR, -1, **details)

    def _end(self, outcome: Outcome, code: int, **details: Any) -> None:
        slot = self._slot
        details.update(close_code=code, messages_in=self._in, messages_out=self._out)
        self._recorder.end(slot, outcome, slot.status, slot.sent, slot.received, **details)


def size(message: Message) -> int:
    """Bytes in a message, as they go over the wire uncompressed."""
    data = message.get("bytes")
    if data is not None:
        return len(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def says_client_left(error: BaseException) -> bool:
    """Whether an exception only says that the other side has closed: `OSError` by the specification (2.4),
    or one of the frameworks' own."""
    return isinstance(error, OSError) or type(error).__name__ in ("WebSocketDisconnect", "ClientDisconnect")
