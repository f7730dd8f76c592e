"""What uvicorn knows of a client, and when a large response has really left.

`send` is a method of the object that serves a request (its cycle) or of a WebSocket's protocol, and that
object has `disconnected`. A response larger than the socket takes at once stays in the transport's buffer
after the application has finished: uvicorn stops writing at 64 KiB and is told when the buffer has drained
or the connection broke. Those calls are rare, and are watched.
"""

from __future__ import annotations

from typing import Any

from server_tracing.capture.asgi_server import Connection, Send, Sent, Server
from server_tracing.capture.uvicorn_patch import loaded_protocols, surround, then

NO_CODE, ABNORMAL = 1005, 1006
REFUSAL = "server_tracing_refusal"  # set on a cycle that the server broke off, see uvicorn_refusals.py

LOST = object()  # in the place of a way to end the record: the connection broke before there was one


class UvicornServer(Server):
    """uvicorn, whichever implementation serves."""

    error_bytes = len(b"Internal Server Error")
    cancelled_status = 500  # the cycle answers whatever BaseException ends the application
    dropped_code = ABNORMAL  # the transport is closed without a close frame

    def __init__(self) -> None:
        self._buffered: dict[
            Any, Any
        ] = {}  # cycle -> how to end its record (None: its application runs), or LOST
        self._paused: dict[Any, list[Any]] = {}  # protocol -> its cycles among those
        self._closing: dict[
            Any, Sent
        ] = {}  # cycle whose connection is closed after it -> how to end its record

    def connection(self, send: Send) -> Any:
        served_by = getattr(send, "__self__", None)
        if hasattr(served_by, "disconnected"):
            return served_by
        return LegacySocket(served_by) if hasattr(served_by, "close_code") else Connection()

    def broken(self, connection: Any) -> bool:
        transport = getattr(connection, "transport", None)
        return transport is not None and bool(transport.is_closing())

    def refusal(self, connection: Any) -> tuple[int, str] | None:
        found: tuple[int, str] | None = getattr(connection, REFUSAL, None)
        return found

    # ------------------------------------------------------------ responses on their way

    def is_sent(self, connection: Any) -> bool:
        """A transport that is closing was told to by uvicorn, or by an error of the last write."""
        return connection not in self._buffered and not connection.transport.is_closing()

    def when_sent(self, connection: Any, end: Sent) -> None:
        if self._buffered.get(connection) is LOST:
            end(True, True)
        elif connection in self._buffered:
            self._buffered[connection] = end
        elif hasattr(connection, "stream"):  # HTTP/2: the connection is not closed for one response
            end(False, False)
        else:
            self._closing[connection] = end

    def forget(self, connection: Any) -> None:
        self._buffered.pop(connection, None)

    def paused(self, protocol: Any) -> None:
        """The transport takes no more for now."""
        for cycle in cycles(protocol):
            self._buffered[cycle] = None
            self._paused.setdefault(protocol, []).append(cycle)

    def resumed(self, protocol: Any) -> None:
        """What was written has left, but for the last 16 KiB."""
        for cycle in self._paused.pop(protocol, ()):
            end = self._buffered.pop(cycle, None)
            if end is not None:
                end(False, True)

    def closed(self, protocol: Any, error: BaseException | None) -> None:
        """The connection is closed: in order, after everything was written, if there is no error."""
        for cycle in self._paused.pop(protocol, ()):
            self._closed(cycle, error is not None or cycle.disconnected)
        for cycle in [one for one in self._closing if one.transport is protocol.transport]:
            self._closing.pop(cycle)(error is not None, False)

    def _closed(self, cycle: Any, lost: bool) -> None:
        end = self._buffered.pop(cycle, None)
        if end is not None:
            end(lost, True)
        elif lost:
            self._buffered[cycle] = LOST

    # ------------------------------------------------------------ WebSockets

    def close_code(self, connection: Any, told: int) -> int:
        """uvicorn tells 1005 also where the connection just broke; the protocol libraries know."""
        if told not in (-1, NO_CODE):
            return told
        if isinstance(connection, LegacySocket):
            return connection.close_code or told
        library = getattr(connection, "conn", None)
        received = getattr(library, "close_rcvd", None)  # websockets
        if received is not None:
            return int(received.code)
        state = getattr(getattr(library, "state", None), "name", "")  # wsproto
        if state in ("REMOTE_CLOSING", "CLOSED") and not hasattr(library, "close_rcvd"):
            return NO_CODE if told == -1 else told
        return ABNORMAL if connection.disconnected else told


class LegacySocket:
    """The `websockets` implementation, a protocol of that library, by what ASGI's recorder asks."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    @property
    def disconnected(self) -> bool:
        """Whether the connection is closed."""
        return bool(self._protocol.closed)

    @property
    def close_code(self) -> int | None:
        """None while it is open."""
        code: int | None = self._protocol.close_code
        return code


def cycles(protocol: Any) -> list[Any]:
    """The requests a connection serves: several with HTTP/2."""
    streams = getattr(protocol, "cycles", None)
    if streams is not None:
        return list(streams.values())
    cycle = protocol.cycle
    return [] if cycle is None else [cycle]


UVICORN = UvicornServer()  # of this process; changed by its event loop only


def watch_buffers() -> None:
    """Be told when a connection of any loaded implementation stops, drains and breaks."""
    for _, protocol in loaded_protocols():
        surround(protocol, "pause_writing", then(UVICORN.paused))
        surround(protocol, "resume_writing", then(UVICORN.resumed))
        surround(protocol, "connection_lost", then(UVICORN.closed))
