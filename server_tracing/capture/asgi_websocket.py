"""One WebSocket through ASGI, from the handshake to the close.

`status` is 101, or what the client was refused with: 403, the status of a denial response, or the server's
500 when the application failed first. Closed by either side with a close frame it is `ok`; a client that is
gone without one (1006) has `disconnected`. The record lasts until the close was told, or the application
ended.
"""

from __future__ import annotations

from collections.abc import Awaitable
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from server_tracing.capture.announcing import announced
from server_tracing.capture.asgi_passing import CANCELLATIONS, CANCELLED, Passing, begin_of, concluded
from server_tracing.capture.asgi_server import App, Message, Receive, Scope, Send, Server
from server_tracing.capture.faults import application_fault
from server_tracing.capture.swallowed import note_handled
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder

SWITCHING, FORBIDDEN = 101, 403
NORMAL, NO_CODE, ABNORMAL = 1000, 1005, 1006  # RFC 6455, section 7.4.1
FAILURES = (1011, 4500)  # an internal error; Litestar adds the status of HTTP to 4000
NO_HANDSHAKE = "the application returned without a handshake"
NO_CLOSE = "the application returned without closing"


def recorded(app: App, recorder: Recorder, server: Server, otherwise: App) -> App:
    """The application for scopes of type websocket, something else for all others."""

    conversation_of = Conversation if recorder.announce is None else AnnouncingConversation

    async def websocket(scope: Scope, receive: Receive, send: Send) -> Any:
        if scope.get("type") != "websocket":
            return await otherwise(scope, receive, send)
        slot = begin_of(recorder, scope)
        if slot is None:
            return await app(scope, receive, send)
        conversation = conversation_of(slot, server.connection(send), receive, send, scope, recorder, server)
        try:
            result = await app(scope, conversation.receive, conversation.send)
        except BaseException as error:
            concluded(conversation, error)
            raise
        concluded(conversation)
        return result

    return websocket


class Conversation(Passing):
    """The `receive` and `send` of one WebSocket."""

    messages_in: int = 0
    messages_out: int = 0
    code: int = -1

    def send(self, message: Message) -> Awaitable[None]:
        """Note what goes out, and hand on the server's own awaitable."""
        try:
            kind = message["type"]
            if kind == "websocket.send":
                self.messages_out += 1
                self.slot.sent += size(message)
            else:
                self.note(kind, message)
        except Exception:  # noqa: BLE001, S110 - a strange message is for the server to judge
            pass
        return self.inner_send(message)

    def note(self, kind: str, message: Message) -> None:
        if kind == "websocket.accept":
            self.answered(SWITCHING)
        elif kind == "websocket.http.response.start":
            if self.can_deny():
                self.answered(int(message["status"]))
        elif kind == "websocket.http.response.body":
            if self.can_deny():
                self.slot.sent += len(message.get("body", b""))
        elif kind == "websocket.close":
            code = message.get("code") or NORMAL
            if code in FAILURES:
                note_handled(self.scope)
            if self.slot.status == SWITCHING:
                self.closed(code)
            else:
                self.answered(FORBIDDEN)

    def can_deny(self) -> bool:
        """Whether the server lets an application refuse a handshake with a response of its own."""
        return self.server.denies or "websocket.http.response" in (self.scope.get("extensions") or ())

    def answered(self, status: int) -> None:
        if not self.slot.status:
            self.slot.status = status
            self.slot.first_byte = monotonic_ns()

    async def receive(self) -> Message:
        """Count what comes in, and see the client leave."""
        message = await self.inner_receive()
        try:
            kind = message["type"]
            if kind == "websocket.receive":
                self.messages_in += 1
                self.slot.received += size(message)
            elif kind == "websocket.disconnect":
                self.closed(self.server.close_code(self.connection, message.get("code") or NO_CODE))
        except Exception:  # noqa: BLE001, S110 - the same the other way
            pass
        return message

    def closed(self, code: int) -> None:
        """The first word counts: what comes after a close only echoes it."""
        if not self.slot.stop and self.slot.status in (0, SWITCHING):
            self.code = int(code)
            self.slot.stop = monotonic_ns()

    def finish(self) -> None:
        """The application returned."""
        status, self.code = self.slot.status, self.known_code()
        if self.left_before_handshake() or self.code == ABNORMAL:
            self.end(Outcome.DISCONNECTED)
        elif not status:
            self.unanswered(self.server.unshaken_status, reason=NO_HANDSHAKE)
        elif status == SWITCHING and self.code < 0:
            self.code = self.server.deserted_code  # some close it then, others wait for the client
            self.end(Outcome.OK, reason=NO_CLOSE)
        else:
            self.end(Outcome.OK)

    def fail(self, error: BaseException) -> None:
        """The application raised, or was cancelled."""
        status, self.code = self.slot.status, self.known_code()
        cancelled, fault = isinstance(error, CANCELLATIONS), application_fault(error)
        reason = CANCELLED if cancelled else ""
        if self.left_before_handshake() or self.code == ABNORMAL:
            self.end(Outcome.DISCONNECTED, fault=fault)
        elif self.code >= 0 and (cancelled or says_client_left(error)):
            self.end(Outcome.OK)
        elif not status:
            self.unanswered(self.server.cancelled_status if cancelled else 500, reason=reason, fault=fault)
        else:
            if status == SWITCHING and self.code < 0:
                self.code = self.server.dropped_code
            self.end(Outcome.ERROR, reason=reason, fault=fault)

    def known_code(self) -> int:
        if self.slot.status != SWITCHING or self.code >= 0:
            return self.code
        return self.server.close_code(self.connection, -1)

    def left_before_handshake(self) -> bool:
        return not self.slot.status and (self.code >= 0 or self.connection.disconnected)

    def end(self, outcome: int, **details: Any) -> None:
        """Write it down."""
        details.update(close_code=self.code, messages_in=self.messages_in, messages_out=self.messages_out)
        self.write(outcome, True, details)


class AnnouncingConversation(Conversation):
    """One whose handshake, or refusal, says which trace it belongs to."""

    def send(self, message: Message) -> Awaitable[None]:
        """Say it in the head."""
        return Conversation.send(self, announced(message, self.recorder, self.slot))


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
