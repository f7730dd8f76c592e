"""The one way into the journal from inside a request: begin, end, and the few things in between.

Nothing here raises, blocks or formats: a begin is a filter over the headers, one msgpack encoding and one
copy into mapped memory. What does not fit or cannot be encoded is cut down and written all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from itertools import count
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypedDict
from weakref import WeakSet

import msgspec

from server_tracing.journal.ring import MAX_FRAME, MINIMAL_ROOM
from server_tracing.record import Fault, Kind, Outcome

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from typing_extensions import Unpack

    from server_tracing.capture.announcing import Announce
    from server_tracing.frameworks import Served
    from server_tracing.journal import Journal

TextHeaders = Iterable[tuple[str, str]]
BytesHeaders = Iterable[tuple[bytes, bytes]]

# What the exporter makes something of; everything else stays in the request.
WANTED = (
    "host",
    "user-agent",
    "content-length",
    "forwarded",
    "x-forwarded-for",
    "x-request-start",
    "x-queue-start",
    "traceparent",
    "tracestate",
    "x-amzn-trace-id",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-cloud-trace-context",
)
NEVER = frozenset(("cookie", "set-cookie", "authorization", "proxy-authorization"))

_MAX_TARGET, _MAX_HEADERS, _MAX_HEADER = 8192, 64, 512  # when a begin has to be cut down


class Slot(msgspec.Struct, gc=False):
    """One open request. Whoever serves it notes here what is cheap to know; the watchdog only reads."""

    number: int
    start: int
    thread: int
    begin: bytes = b""  # as it stands in the journal, for who asks in the request's own time (inside/)
    first_byte: int = 0
    status: int = 0
    sent: int = 0
    received: int = 0
    disconnected: bool = False  # the application was told that its client left
    stop: int = 0  # when the last byte went out, where the application may go on after it
    live: Any = None  # the application's own view, once it has asked; knows nothing of the slot: no cycles

    def __repr__(self) -> str:
        return f"<Slot {self.number} · status {self.status or 'not yet'} · {self.sent} bytes sent>"


Refusal = tuple[Context, Slot | None]  # a request that is refused, in a context of its own


class Details(TypedDict, total=False):
    """What most ends have nothing to say about."""

    reason: str
    cpu: int
    fault: Fault | None
    close_code: int
    messages_in: int
    messages_out: int
    event_stream: bool


class Recorder:
    """One worker process's requests on their way into its journal."""

    def __init__(
        self,
        journal: Journal,
        *,
        headers: Iterable[str] = (),
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        wanted = {name.lower() for name in (*WANTED, *headers)} - NEVER
        encode = msgspec.msgpack.Encoder().encode
        self.clock = clock
        self.journal = journal
        self.open: dict[int, Slot] = {}  # by number; set and deleted by request threads, read by the watchdog
        self.announce: Announce | None = None  # what responses say of their trace, if anything
        self._entered: Callable[[Slot | None], object] | None = None
        self._left: Callable[[Slot], object] | None = None
        self.applications: list[Served] = []  # by this process; the exporter asks them for routes
        # Where those requests are served that share a thread, for who asks where one is:
        self.loops: WeakSet[AbstractEventLoop] = WeakSet()
        self.pools: WeakSet[Any] = WeakSet()  # of greenlets
        self._encode = encode
        next_number = count(1).__next__
        self.begin_text = self._beginner(
            Kind.BEGIN_TEXT, frozenset(name.upper() for name in wanted), next_number, encode
        )
        self.begin_bytes = self._beginner(
            Kind.BEGIN_BYTES,
            frozenset(name.encode("latin-1", "replace") for name in wanted),
            next_number,
            encode,
        )
        self.end = self._ender(encode)

    def _beginner(
        self,
        kind: int,
        wanted: frozenset[Any],
        next_number: Callable[[], int],
        encode: Callable[[object], bytes],
    ) -> Callable[[str, Any, str, str, str, int, Iterable[tuple[Any, Any]]], Slot | None]:
        """The function that writes a begin: text as WSGI servers have it (header names in upper case) or
        bytes as ASGI servers do (in lower case). A closure, because it runs in every request."""
        clock, ring, opened, kind = self.clock, self.journal.ring, self.open, int(kind)
        write, lose, promise = ring.write, ring.lose, MINIMAL_ROOM

        def begin(
            method: str,
            target: Any,
            version: str,
            scheme: str,
            client: str,
            port: int,
            headers: Iterable[tuple[Any, Any]],
        ) -> Slot | None:
            """A request begins; None when there was no room for it."""
            number = next_number()
            start = clock()
            thread = get_ident()
            try:
                kept = [header for header in headers if header[0] in wanted]
                payload = encode((number, start, method, target, version, scheme, client, port, kept, thread))
                written = write(kind, payload, promise)
            except Exception:  # noqa: BLE001 - lone surrogates, numbers beyond 64 bits, strange types
                payload, written = b"", False
            if not written and not 0 < len(payload) < MAX_FRAME:
                payload = encode(
                    _cut(
                        number, start, method, target, version, scheme, client, port, headers, wanted, thread
                    )
                )
                written = write(kind, payload, promise)
            if written:
                slot = opened[number] = Slot(number, start, thread, payload)
            else:
                lose()
                slot = None
            if self._entered is not None:
                self._entered(slot)
            return slot

        return begin

    def _ender(self, encode: Callable[[object], bytes]) -> Callable[..., None]:
        """The function that writes an end; a closure for the same reason."""
        clock, ring, taken = self.clock, self.journal.ring, self.open.pop
        write, end_minimal, kind, promise = ring.write, ring.end_minimal, int(Kind.END), -MINIMAL_ROOM

        def end(
            slot: Slot | None,
            outcome: int,
            status: int = 0,
            response_bytes: int = -1,
            request_bytes: int = -1,
            route: str = "",
            **details: Unpack[Details],
        ) -> None:
            """A request is over; said twice, the first word counts."""
            if slot is None or taken(slot.number, None) is None:
                return
            if self._left is not None:
                self._left(slot)
            number, stop = slot.number, slot.stop or clock()
            try:
                told = _told(route, details) if details else ("", -1, route) if route else ()
                known = (number, stop, outcome, status, slot.first_byte, response_bytes, request_bytes)
                written = write(kind, encode((*known, *told) if told else known), promise)
            except Exception:  # noqa: BLE001 - a message with lone surrogates, a status beyond 64 bits
                written = False
            if not written:
                end_minimal(number, stop, status, outcome)

        return end

    def follow(self, entered: Callable[[Slot | None], object], left: Callable[[Slot], object]) -> None:
        """Tell of every begin from now on (None: there was no room for it), in the request's own context, and
        of every end before it is written. Until then a request pays for two looks at an attribute."""
        self._entered, self._left = entered, left

    def rejected(
        self,
        method: str,
        target: str,
        version: str,
        scheme: str,
        client: str,
        port: int,
        headers: TextHeaders,
        status: int,
        reason: str,
        response_bytes: int = -1,
    ) -> None:
        """The server refused a request before any application saw it, and has said so."""
        begun = self.begin_refusal(method, target, version, scheme, client, port, headers)
        self.end_refusal(begun, status, reason, response_bytes)

    def begin_refusal(
        self,
        method: str,
        target: str,
        version: str,
        scheme: str,
        client: str,
        port: int,
        headers: TextHeaders,
    ) -> Refusal:
        """The server is about to refuse a request: no client shall have an answer that no record tells of. It
        may do so while it serves another one, whose context is to stay its own."""
        context = copy_context()
        return context, context.run(self.begin_text, method, target, version, scheme, client, port, headers)

    def end_refusal(self, begun: Refusal, status: int, reason: str, response_bytes: int = -1) -> None:
        """It did."""
        context, slot = begun
        if slot is not None:
            slot.first_byte = self.clock()
            context.run(self.end, slot, Outcome.REJECTED, status, response_bytes, reason=reason)

    def mark(self, what: str, detail: str = "", fault: Fault | None = None) -> None:
        """Something happened to the worker itself."""
        try:
            payload = self._encode((self.clock(), what, _printable(detail), fault))
        except Exception:  # noqa: BLE001 - a fault whose text cannot be encoded
            payload = self._encode((self.clock(), what, _printable(detail)))
        self.journal.append(Kind.MARK, payload)

    def __repr__(self) -> str:
        return f"<Recorder {len(self.open)} open · {self.journal.lost} lost>"


def _told(route: str, details: Details) -> tuple[object, ...]:
    return (
        details.get("reason", ""),
        details.get("cpu", -1),
        route,
        details.get("fault"),
        details.get("close_code", -1),
        details.get("messages_in", -1),
        details.get("messages_out", -1),
        details.get("event_stream", False),
    )


def _cut(
    number: int,
    start: int,
    method: object,
    target: object,
    version: object,
    scheme: object,
    client: object,
    port: object,
    headers: Iterable[tuple[Any, Any]],
    wanted: frozenset[Any],
    thread: int,
) -> tuple[object, ...]:
    """What is left of a begin that is too large or holds what cannot be encoded: short, and plain."""
    return (
        number,
        start,
        _printable(method)[:64],
        _short(target, _MAX_TARGET),
        _printable(version)[:16],
        _printable(scheme)[:16],
        _printable(client)[:64],
        port if isinstance(port, int) and 0 <= port < 65536 else 0,
        [_cut_header(header) for header in list(_wanted(headers, wanted))[:_MAX_HEADERS]],
        thread,
    )


def _wanted(headers: Iterable[tuple[Any, Any]], wanted: frozenset[Any]) -> Iterable[tuple[Any, Any]]:
    try:
        return [header for header in headers if header[0] in wanted]
    except Exception:  # noqa: BLE001 - headers that are no pairs, or names that cannot be looked up
        return []


def _cut_header(header: tuple[Any, Any]) -> tuple[str | bytes, str | bytes]:
    return _short(header[0], 64), _short(header[1], _MAX_HEADER)


def _short(value: object, limit: int) -> str | bytes:
    return bytes(value[:limit]) if isinstance(value, (bytes, bytearray)) else _printable(value)[:limit]


def _printable(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
