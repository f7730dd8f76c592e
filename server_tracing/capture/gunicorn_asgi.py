"""gunicorn's own `asgi` worker: its application is wrapped, its refusals are seen where it answers them.

Its request objects have slots and its hooks are told neither status nor exception, so neither is used.
`ASGIProtocol._send_error_response` answers what is malformed, before an application saw it or while one is
reading its body, and it also sends the 500 in place of an application that failed: told apart by who calls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic_ns
from types import FrameType
from typing import TYPE_CHECKING, Any

from server_tracing.capture.announcing import TextHeaders
from server_tracing.capture.asgi import wrap
from server_tracing.capture.asgi_server import Connection, Send, Sent, Server
from server_tracing.capture.gunicorn_outcome import words
from server_tracing.capture.gunicorn_refusals import Known
from server_tracing.capture.request_line import split_line
from server_tracing.capture.uvicorn_patch import surround, then

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder

INTERNAL_ERROR = 1011  # RFC 6455; how gunicorn closes a WebSocket that its application left open
HTTP, WEBSOCKET = ("http", "https"), ("ws", "wss")
HANDSHAKE, APPLICATION, PIPELINE = "_handle_websocket", "_handle_http_request", "_handle_connection"


def attach_asgi(worker: Any, recorder: Recorder) -> None:
    """Record what this worker's application serves and what its protocol refuses."""
    from gunicorn.asgi import protocol

    from server_tracing.capture.gunicorn_http2 import watch_refused_streams

    recorder.loops.add(worker.loop)
    worker.asgi = wrap(worker.asgi, recorder, GunicornServer())
    watch_refusals(protocol.ASGIProtocol, recorder)
    watch_buffers(protocol.ASGIProtocol)
    watch_refused_streams(worker.cfg, recorder)


class GunicornServer(Server):
    """What gunicorn's protocol knows of a client beyond what it tells the application."""

    error_bytes = 0  # its access log counts none for its own 500
    dropped_code = deserted_code = INTERNAL_ERROR
    denies = False
    unshaken_status = 403

    def connection(self, send: Send) -> Any:
        """gunicorn's `send` encloses the protocol of its connection; with HTTP/2 also its stream, with a
        WebSocket it does neither."""
        protocol = enclosed(send, "self")
        if protocol is None:
            return Connection()
        return enclosed(send, "stream") or Http1Connection(protocol, send)

    def is_sent(self, connection: Any) -> bool:
        """A buffer that was full once has ended the response later than the application did."""
        return not getattr(connection, "was_full", False)

    def when_sent(self, connection: Any, end: Sent) -> None:
        if connection.settled:
            end(connection.lost, True, connection.settled)
        else:
            connection.end = end

    def is_lost(self, connection: Any) -> bool:
        return bool(getattr(connection, "lost", False))

    def is_begun(self, connection: Any) -> bool:
        """Not with an invalid header, say."""
        return not isinstance(connection, Http1Connection) or connection.begun

    def announce(self, connection: Any, headers: TextHeaders) -> None:
        """Into the error page it is about to send."""
        if isinstance(connection, Http1Connection):
            connection.announce(headers)

    def holds_head(self, connection: Any) -> bool:
        return isinstance(connection, Http1Connection) and connection.holds_head

    def refusal(self, connection: Any) -> tuple[int, str] | None:
        """The 400 for a body that turned out malformed while the application was at it."""
        return getattr(connection, "refusal", None)


class Http1Connection:
    """One request's view of its connection."""

    __slots__ = ("_begun", "_protocol", "end", "lost", "settled", "was_full")

    def __init__(self, protocol: Any, send: Send) -> None:
        self._protocol = protocol
        self._begun = cell(send, "response_started")  # not `send`, which keeps a whole request
        self.was_full = self.lost = False
        self.settled = 0  # when what was written had left, or was lost
        self.end: Sent | None = None  # of the record, if the application returned before that
        protocol.server_tracing_connection = self

    def settle(self, lost: bool) -> None:
        """The buffer has drained, or its connection broke."""
        if self.was_full and not self.settled:
            self.lost, self.settled = lost, monotonic_ns()
            if self.end is not None:
                self.end(lost, True, self.settled)

    def fill(self) -> None:
        """The buffer takes no more for now."""
        self.was_full, self.settled = True, 0

    def announce(self, headers: TextHeaders) -> None:
        """What the next error page is to say."""
        self._protocol.server_tracing_headers = headers

    @property
    def begun(self) -> bool:
        """Whether gunicorn took the head it was given."""
        return self._begun is None or self._begun.cell_contents is not False

    @property
    def holds_head(self) -> bool:
        """Whether gunicorn took the head and has not written it."""
        return bool(getattr(self._protocol, "_response_buffer", None))

    @property
    def disconnected(self) -> bool:
        """Whether nothing that the application sends will arrive."""
        return bool(self._protocol._conn_lost_handled) or self.refusal is not None

    @property
    def refusal(self) -> tuple[int, str] | None:
        """Status and reason, if the connection was answered with an error page and closed."""
        found: tuple[int, str] | None = getattr(self._protocol, "server_tracing_refusal", None)
        return found


def enclosed(function: Any, name: str) -> Any:
    """A variable that a function encloses; None where there is no such thing."""
    found = cell(function, name)
    return None if found is None else found.cell_contents


def cell(function: Any, name: str) -> Any:
    """Where a function keeps a variable that it encloses."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return function.__closure__[names.index(name)] if name in names else None


def watch_buffers(protocol_class: Any) -> None:
    """Be told when a connection stops, drains and breaks: what the transport holds has not been sent."""

    def current(protocol: Any) -> Http1Connection:
        found: Http1Connection = protocol.server_tracing_connection  # none yet: nothing to be told
        return found

    surround(protocol_class, "pause_writing", then(lambda protocol: current(protocol).fill()))
    surround(protocol_class, "resume_writing", then(lambda protocol: current(protocol).settle(False)))
    surround(protocol_class, "connection_lost", then(lambda protocol, _: current(protocol).settle(True)))


def watch_refusals(protocol_class: Any, recorder: Recorder) -> None:
    """Record every error page that no application asked for."""
    send = protocol_class._send_error_response
    takes_headers = "extra_headers" in send.__code__.co_varnames  # from gunicorn 26 on

    def send_error_response(protocol: Any, status: int, *rest: Any, **named: Any) -> Any:
        headers = vars(protocol).pop("server_tracing_headers", None)
        if headers and takes_headers and len(rest) == 1:
            named["extra_headers"] = (*named.get("extra_headers", ()), *headers)
        sent = None
        with suppress(Exception):  # a protocol that is not what it was costs a record
            sent = begin_error_page(recorder, protocol, status, sys._getframe(1))
        try:
            return send(protocol, status, *rest, **named)
        finally:
            if sent is not None:
                sent()

    protocol_class._send_error_response = send_error_response


def begin_error_page(
    recorder: Recorder, protocol: Any, status: int, caller: FrameType
) -> Callable[[], object] | None:
    """An error page is about to go out, for a request of its own or in the middle of one that an application
    has; what is to be called when it is gone, if anything."""
    if caller.f_code.co_name == APPLICATION:
        return None  # the application's record says so
    exc = sys.exc_info()[1]
    schemes = HTTP
    if caller.f_code.co_name == HANDSHAKE:
        schemes = WEBSOCKET
        request, reason = caller.f_locals.get("request"), "invalid handshake"
    elif is_at_application(protocol, caller):
        told = status, words(exc) if exc else ""
        return lambda: setattr(protocol, "server_tracing_refusal", told)
    else:
        request, reason = protocol._current_request, words(exc) if exc else "invalid preface"
    begun = recorder.begin_refusal(*refusal(protocol, request, schemes))
    return lambda: recorder.end_refusal(begun, status, reason)


def is_at_application(protocol: Any, caller: FrameType) -> bool:
    """Whether the request the parser is in has been handed to an application: its head was complete and
    the connection's loop has left its wait. In a pipelined one, parsed by that loop itself, it cannot be."""
    ready = protocol._request_ready
    handed_on = (
        ready is not None and ready.is_set() and protocol.req_count > 0 and not protocol._awaiting_request
    )
    return handed_on and all(frame.f_code.co_name != PIPELINE for frame in callers(caller))


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    """This frame and the two that called it."""
    for _ in range(3):
        if frame is not None:
            yield frame
            frame = frame.f_back


def refusal(protocol: Any, request: Any, schemes: tuple[str, str]) -> Known:
    """What can be known of a request that was refused, complete or not."""
    parser = protocol._callback_parser
    if request is not None:
        method, target, version, headers = request.method, request.uri, request.version, request.headers
    elif getattr(parser, "method", None):
        method, target, version = text(parser.method), text(parser.path), parser.http_version or ()
        headers = [(text(name).upper(), text(value)) for name, value in parser.headers]
    else:
        method, target = split_line(bytes(getattr(parser, "_buffer", b"")[:8192]))
        version, headers = (), []
    peer = protocol.transport.get_extra_info("peername")
    host, port = (peer[0], peer[1]) if isinstance(peer, tuple) and peer else ("", 0)
    secure = bool(protocol.cfg.is_ssl) if request is None else request.scheme == "https"
    return method, target or "", ".".join(map(str, version)), schemes[secure], host, port, headers


def text(value: Any) -> str:
    """Bytes of a head as text."""
    return value.decode("latin-1") if isinstance(value, (bytes, bytearray)) else str(value or "")
