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

from msgspec import Struct

from server_tracing.capture.announcing import announced
from server_tracing.capture.asgi_http import CANCELLATIONS, CANCELLED, begin_of
from server_tracing.capture.asgi_server import (
    App,
    Message,
    Receive,
    Scope,
    Send,
    Server,
    application_fault,
    concluded,
    route,
)
from server_tracing.capture.swallowed import note_handled, noted
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder, Slot

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
        conversation = conversation_of(slot, server.connection(send), receive, send, recorder, server, scope)
        try:
            result = await app(scope, conversation.receive, conversation.send)
        except BaseException as error:
            concluded(conversation, error)
            raise
        concluded(conversation)
        return result

    return websocket


class Conversation(Struct):
    """The `receive` and `send` of one WebSocket."""

    slot: Slot
    connection: Any
    inner_receive: Receive
    inner_send: Send
    recorder: Recorder
    server: Server
    scope: Scope
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
        status, code = self.slot.status, self.known_code()
        if self.left_before_handshake() or code == ABNORMAL:
            self.end(Outcome.DISCONNECTED, code)
        elif not status:
            self.unanswered(self.server.unshaken_status, reason=NO_HANDSHAKE)
        elif status == SWITCHING and code < 0:
            self.end(Outcome.OK, code, reason=NO_CLOSE)  # some servers then close, others wait for the client
        else:
            self.end(Outcome.OK, code)

    def fail(self, error: BaseException) -> None:
        """The application raised, or was cancelled."""
        code, cancelled = self.known_code(), isinstance(error, CANCELLATIONS)
        fault, reason = application_fault(error), CANCELLED if cancelled else ""
        if self.left_before_handshake() or code == ABNORMAL:
            self.end(Outcome.DISCONNECTED, code, fault=fault)
        elif code >= 0 and (cancelled or says_client_left(error)):
            self.end(Outcome.OK, code)
        elif self.slot.status:
            code = self.server.dropped_code if code < 0 and self.slot.status == SWITCHING else code
            self.end(Outcome.ERROR, code, reason=reason, fault=fault)
        else:
            self.unanswered(self.server.cancelled_status if cancelled else 500, reason=reason, fault=fault)

    def known_code(self) -> int:
        if self.slot.status != SWITCHING or self.code >= 0:
            return self.code
        return self.server.close_code(self.connection, -1)

    def left_before_handshake(self) -> bool:
        return not self.slot.status and (self.code >= 0 or self.connection.disconnected)

    def unanswered(self, status: int, **details: Any) -> None:
        """No handshake was sent: the server answers, if it can."""
        self.slot.status = status
        self.slot.sent = self.server.error_bytes if status == 500 else 0
        self.end(Outcome.ERROR, -1, **details)

    def end(self, outcome: Outcome, code: int, **details: Any) -> None:
        """Write it down."""
        slot = self.slot
        details.update(close_code=code, messages_in=self.messages_in, messages_out=self.messages_out)
        if "fault" not in details and (fault := noted(self.scope)):
            details["fault"] = fault
            outcome = Outcome.ERROR if outcome == Outcome.OK else outcome
        details["route"] = route(self.server, self.scope)
        self.server.forget(self.connection)
        self.recorder.end(slot, outcome, slot.status, slot.sent, slot.received, **details)


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
