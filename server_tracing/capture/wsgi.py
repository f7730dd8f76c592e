"""The WSGI recorder: `wrap(app, recorder)` is the application again, with every call of it one record.

Between server and application everything stays as PEP 3333 has it: the arguments of `start_response`, the
chunks one for one, `len()` where the application's iterable has one, `close()` once. A file wrapper is
returned as it is, so that servers still recognize it and use sendfile; it ends when the server closes it.

- handed over to its last chunk: `ok`
- closed by the server before that: `disconnected`
- the application raised, before or between its chunks: `error`
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from sys import exc_info
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from server_tracing.capture.announcing import announced_wsgi
from server_tracing.capture.faults import application_fault
from server_tracing.capture.swallowed import note, note_handled, noted, served
from server_tracing.frameworks import Left, left_in
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder, Slot

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

INT64_DIGITS = 19
INTERNAL_ERROR = 500  # what servers answer in the place of an application that raised


def wrap(app: Application, recorder: Recorder, all_or_nothing: bool = False) -> Application:
    """The same application, recorded. `all_or_nothing`: a server like tornado's, which collects a response
    before it sends it, and sends nothing at all, not even a 500, when the application fails."""
    served(app, recorder, os.environ.get("SCRIPT_NAME", ""))
    left = left_in("environ")
    passing_of = Passing if recorder.announce is None else AnnouncingPassing

    def traced(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        slot = begin(recorder, environ)
        if slot is None:
            return app(environ, start_response)
        slot.received = declared_length(environ)
        bodiless = environ["REQUEST_METHOD"] == "HEAD"
        passing = passing_of(recorder, slot, start_response, environ, left, bodiless, all_or_nothing)
        try:
            body = app(environ, passing.start_response)
        except BaseException as error:
            passing.fail(error)
            raise
        return passing.passed(body, environ)

    traced.__wrapped__ = app  # type: ignore[attr-defined]
    return traced


def begin(recorder: Recorder, environ: Environ) -> Slot | None:
    """The record of this request, begun; None where there is no room or nothing to make sense of."""
    try:
        return recorder.begin_text(
            environ["REQUEST_METHOD"],
            target(environ),
            environ.get("SERVER_PROTOCOL", "").rpartition("/")[2],
            environ.get("wsgi.url_scheme", "http"),
            environ.get("REMOTE_ADDR") or "",
            int(environ.get("REMOTE_PORT") or 0),
            headers(environ),
        )
    except Exception:  # noqa: BLE001 - an odd environment costs a record, not a response
        return None


def target(environ: Environ) -> str:
    """Path and query as the client sent them where the server tells, else put together again."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw:
        return str(raw)
    path = quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1"))
    query = environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else path


def headers(environ: Environ) -> list[tuple[str, str]]:
    """The request's headers under their own names again, in upper case."""
    found = [(key[5:].replace("_", "-"), value) for key, value in environ.items() if key[:5] == "HTTP_"]
    length = environ.get("CONTENT_LENGTH")
    return [*found, ("CONTENT-LENGTH", length)] if length else found


def declared_length(environ: Environ) -> int:
    """Bytes of the request's body, as its client declared them; -1 where it did not."""
    length = environ.get("CONTENT_LENGTH") or ""
    sensible = isinstance(length, str) and length.isdecimal() and len(length) < INT64_DIGITS
    return int(length) if sensible else -1


class Passing:
    """One response on its way from the application to the server."""

    __slots__ = ("all_or_nothing", "bodiless", "environ", "left", "length", "recorder", "slot", "start")

    def __init__(
        self,
        recorder: Recorder,
        slot: Slot,
        start: StartResponse,
        environ: Environ,
        left: Left | None,
        bodiless: bool,
        all_or_nothing: bool,
    ) -> None:
        self.recorder = recorder
        self.slot = slot
        self.start = start
        self.environ = environ
        self.left = left  # what reads the route a framework leaves in the environment
        self.bodiless = bodiless  # an answer to HEAD
        self.all_or_nothing = all_or_nothing
        self.length = -1  # as declared

    def start_response(self, *arguments: Any, **named: Any) -> Callable[[bytes], object]:
        """Note what the application announces, and count what it writes the old way."""
        write = self.start(*arguments, **named)
        with suppress(Exception):  # a status the server let through is none of our business
            status, declared = arguments[:2]
            self.slot.status = int(status[:3])
            self.length = content_length(declared)
            if self.slot.status >= 500:
                self.note_fault(*arguments[2:3])

        def counted(data: bytes) -> object:
            try:
                result = write(data)
            except OSError:
                self.end(Outcome.DISCONNECTED, self.slot.sent)
                raise
            self.sent(data)
            return result

        return counted

    def note_fault(self, raised: Any = None) -> None:
        """An error is announced: its `exc_info` by the specification, or what is being handled."""
        if raised:
            note(self.environ, raised[1])
        else:
            note_handled(self.environ)

    def sent(self, data: Any) -> None:
        """A chunk is on its way."""
        with suppress(Exception):
            if data and not self.slot.first_byte:  # the head waits for the first byte of the body
                self.slot.first_byte = self.recorder.clock()
            self.slot.sent += len(data)

    def passed(self, body: Iterable[bytes], environ: Environ) -> Iterable[bytes]:
        """What the server gets in the place of the application's iterable."""
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            self.watch_file(body)
            return body
        return (SizedBody if hasattr(body, "__len__") else Body)(self, body)

    def watch_file(self, body: Any) -> None:
        """See a file wrapper's end: by its `close`, or now if it cannot be given one of ours."""
        close = getattr(body, "close", None)
        self.slot.first_byte = self.recorder.clock()

        def closed() -> object:
            self.end(Outcome.OK if exc_info()[1] is None else Outcome.DISCONNECTED, self.length)
            return close() if close is not None else None

        try:
            body.close = closed
        except Exception:  # noqa: BLE001 - a wrapper in C
            self.end(Outcome.OK, self.length)

    def fail(self, error: BaseException) -> None:
        """The application raised: the server answers if nothing was sent yet."""
        slot = self.slot
        status, sent = (slot.status, slot.sent) if slot.first_byte else (INTERNAL_ERROR, 0)
        if self.all_or_nothing:
            status = sent = slot.first_byte = 0
        fault = application_fault(error)
        self.recorder.end(slot, Outcome.ERROR, status, sent, slot.received, route=self.route(), fault=fault)

    def end(self, outcome: Outcome, sent: int) -> None:
        """The server has got all it wanted."""
        slot, sent = self.slot, 0 if self.bodiless else sent
        slot.first_byte = slot.first_byte or self.recorder.clock()
        fault = noted(self.environ) if slot.status >= 500 else None
        if fault is None:
            self.recorder.end(slot, outcome, slot.status, sent, slot.received, route=self.route())
        else:
            outcome = Outcome.ERROR if outcome == Outcome.OK else outcome
            self.recorder.end(
                slot, outcome, slot.status, sent, slot.received, route=self.route(), fault=fault
            )

    def route(self) -> str:
        """The route, where the framework left it."""
        return self.left(self.environ) if self.left else ""

    def closed(self) -> None:
        """The server asks for no more: before the last chunk that means that nobody wanted the rest."""
        complete = self.bodiless or 0 <= self.length <= self.slot.sent
        self.end(Outcome.OK if complete else Outcome.DISCONNECTED, self.slot.sent)


class AnnouncingPassing(Passing):
    """One that says which trace it belongs to."""

    __slots__ = ()

    def start_response(self, *arguments: Any, **named: Any) -> Callable[[bytes], object]:
        """Say it in the head."""
        arguments = announced_wsgi(arguments, self.recorder, self.slot)
        return Passing.start_response(self, *arguments, **named)


class Body:
    """The application's iterable as the server sees it."""

    __slots__ = ("body", "chunks", "passing")

    def __init__(self, passing: Passing, body: Iterable[bytes]) -> None:
        self.passing = passing
        self.body = body
        self.chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self.chunks is None:
                self.chunks = iter(self.body)
            chunk = next(self.chunks)
        except StopIteration:
            self.complete()
            raise
        except BaseException as error:
            self.passing.fail(error)
            raise
        self.passing.sent(chunk)
        return chunk

    def complete(self) -> None:
        """The server has its last chunk."""
        self.passing.end(Outcome.OK, self.passing.slot.sent)

    def close(self) -> None:
        """The server is done with it."""
        self.passing.closed()
        close = getattr(self.body, "close", None)
        if close is not None:
            close()


class SizedBody(Body):
    """Of a list, say: servers derive a Content-Length from `len()` 1, and gevent's pywsgi goes through it
    twice, the first time only to add up its chunks. So it is over when it is closed."""

    __slots__ = ("before", "whole")

    def __init__(self, passing: Passing, body: Iterable[bytes]) -> None:
        super().__init__(passing, body)
        self.before = passing.slot.sent  # written the old way
        self.whole = False

    def __iter__(self) -> Iterator[bytes]:
        self.chunks, self.whole = None, False
        self.passing.slot.sent = self.before
        return self

    def __len__(self) -> int:
        return len(self.body)  # type: ignore[arg-type]

    def complete(self) -> None:
        """It may begin again."""
        self.whole = True

    def close(self) -> None:
        """The server is done with it."""
        if self.whole:
            super().complete()
        super().close()


def content_length(declared: Any) -> int:
    """The Content-Length among response headers; -1 without one."""
    for name, value in declared if isinstance(declared, (list, tuple)) else ():
        if name.lower() == "content-length":
            return int(value)
    return -1
