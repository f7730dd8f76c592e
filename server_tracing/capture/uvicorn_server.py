"""What uvicorn knows of a client, and when a large response has really left.

`send` is a method of the object that serves a request, its cycle, which has `disconnected`, or of the
protocol of a WebSocket. A response larger than the socket takes at once stays in the transport's buffer
after the application has finished: uvicorn stops writing at 64 KiB and is told when the buffer has drained
or the connection broke. Those calls are rare, and are watched. (Over TLS asyncio takes everything at once and
tells nothing: there a response counts as sent when uvicorn thinks so.)
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from server_tracing.capture.announcing import TextHeaders, in_bytes
from server_tracing.capture.asgi_server import Connection, Send, Sent, Server
from server_tracing.capture.uvicorn_patch import loaded_protocols, surround, then

NO_CODE, ABNORMAL = 1005, 1006
# What is noted on a cycle:
HELD = "server_tracing_held"  # bytes in a buffer: how to end the record, None if that is to come, or LOST
REFUSAL = "server_tracing_refusal"  # the status and reason with which the server broke it off
REPLACED = "server_tracing_replaced"  # whether that went out before a head of the application's
LOST = object()  # in the place of a way to end the record: what was held will never arrive

IPPROTO_TCP, TCP_INFO, TCP_CLOSE = 6, 11, 7  # linux/tcp.h, include/net/tcp_states.h


class UvicornServer(Server):
    """uvicorn, whichever implementation serves."""

    error_bytes = len(b"Internal Server Error")
    cancelled_status = 500  # the cycle answers whatever BaseException ends the application
    dropped_code = ABNORMAL  # the transport is closed without a close frame

    def __init__(self) -> None:
        self._paused: dict[Any, list[Any]] = {}  # protocol -> its cycles with bytes in a buffer
        self._closing: dict[Any, Sent] = {}  # cycle that its connection closes after -> how to end its record
        self._gone: WeakSet[Any] = WeakSet()  # closed transports: applications may go on in the background

    def connection(self, send: Send) -> Any:
        served_by = getattr(send, "__self__", None)
        if hasattr(served_by, "response_complete"):  # the cycle of a request
            return served_by
        return Socket(served_by) if hasattr(served_by, "transport") else Connection()

    def broken(self, connection: Any) -> bool:
        transport = getattr(connection, "transport", None)
        return transport is not None and bool(transport.is_closing())

    # ------------------------------------------------------------ requests the server broke off

    def break_off(self, cycle: Any, status: int, reason: str) -> None:
        """The server answers, and closes: nothing of the application's arrives from now on."""
        setattr(cycle, REFUSAL, (status, reason))
        setattr(cycle, REPLACED, not cycle.response_started)
        setattr(cycle, HELD, LOST)

    def refusal(self, connection: Any) -> tuple[int, str] | None:
        found: tuple[int, str] | None = getattr(connection, REFUSAL, None)
        return found

    def is_begun(self, connection: Any) -> bool:
        return not getattr(connection, REPLACED, False)

    # ------------------------------------------------------------ responses on their way

    def is_sent(self, connection: Any) -> bool:
        """A transport that is closing was told to by uvicorn, or by an error of the last write."""
        transport = connection.transport
        return not hasattr(connection, HELD) and (not transport.is_closing() or has_left(transport))

    def when_sent(self, connection: Any, end: Sent) -> None:
        if getattr(connection, HELD, None) is LOST:
            end(True, True)
        elif hasattr(connection, HELD):
            setattr(connection, HELD, end)
        elif hasattr(connection, "stream") or connection.transport in self._gone:
            end(False, False)  # HTTP/2 closes no connection for one response; or it closed after all was sent
        else:
            self._closing[connection] = end

    def announce(self, connection: Any, headers: TextHeaders) -> None:
        """A cycle begins every response with its default headers."""
        if hasattr(connection, "default_headers"):
            connection.default_headers = [*connection.default_headers, *in_bytes(headers)]

    def forget(self, connection: Any) -> None:
        if hasattr(connection, HELD):
            delattr(connection, HELD)

    def paused(self, protocol: Any) -> None:
        """The transport takes no more for now."""
        for cycle in cycles(protocol):
            setattr(cycle, HELD, getattr(cycle, HELD, None))
            self._paused.setdefault(protocol, []).append(cycle)

    def resumed(self, protocol: Any) -> None:
        """What was written has left, but for the last 16 KiB."""
        for cycle in self._paused.pop(protocol, ()):
            if getattr(cycle, HELD, None) is not LOST and (end := vars(cycle).pop(HELD, None)):
                end(False, True)

    def closed(self, protocol: Any, error: BaseException | None) -> None:
        """The connection is closed: in order, after everything was written, if there is no error."""
        for cycle in self._paused.pop(protocol, ()):
            self._closed(cycle, error is not None or cycle.disconnected)
        self._gone.add(protocol.transport)
        for cycle in [one for one in self._closing if one.transport is protocol.transport]:
            self._closing.pop(cycle)(error is not None, False)

    def _closed(self, cycle: Any, lost: bool) -> None:
        end = vars(cycle).pop(HELD, None)
        if callable(end):
            end(lost, True)
        elif lost or end is LOST:
            setattr(cycle, HELD, LOST)

    def close_code(self, connection: Any, told: int) -> int:
        return connection.close_code(told) if isinstance(connection, Socket) else told


class Socket:
    """A WebSocket of any of the three implementations, by what ASGI's recorder asks."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    @property
    def transport(self) -> Any:
        """What it goes over."""
        return self._protocol.transport

    @property
    def disconnected(self) -> bool:
        """Whether the connection is closed."""
        return bool(self._protocol.transport.is_closing())

    def close_code(self, told: int) -> int:
        """uvicorn tells 1005 also where a connection just broke; the libraries know whether they were sent a
        close frame."""
        if told not in (-1, NO_CODE):
            return told
        if hasattr(self._protocol, "close_code"):  # `websockets`, an old one: None while it is open
            return self._protocol.close_code or told
        library = self._protocol.conn
        if hasattr(library, "close_rcvd"):  # `websockets-sansio`
            code = library.close_rcvd and int(library.close_rcvd.code)
        else:  # `wsproto`: the code is lost, but for what it told
            code = NO_CODE if library.state.name in ("REMOTE_CLOSING", "CLOSED") else None
        return code or (ABNORMAL if self.disconnected else told)


def has_left(transport: Any) -> bool:
    """Whether a transport that is closing has nothing left to send and did not break. To be told that it is
    closed takes another step of the loop, in which a killed worker leaves an answered request open."""
    try:
        # Not `getpeername`: uvloop remembers the peer of a connection that broke.
        state = transport.get_extra_info("socket").getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0]
        return state != TCP_CLOSE and not transport.get_write_buffer_size()
    except Exception:  # noqa: BLE001 - no TCP, not Linux, or closed by now
        return False


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
