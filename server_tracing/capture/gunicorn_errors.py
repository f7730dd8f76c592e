"""`Worker.handle_error`: where gunicorn answers instead of the application, and answers what it refuses.

It sees an application's exception after `post_request` did: with the request's record still open, and with
the status that this version of gunicorn chose (a long request line is 400 in 23.0 and 414 in 27).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from server_tracing.capture.announcing import TextHeaders, on_the_wire
from server_tracing.capture.faults import fault_from
from server_tracing.capture.gunicorn_outcome import ending, words
from server_tracing.capture.gunicorn_refusals import is_served, refusal
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder, Refusal

NOT_BEGUN = object()
PAGE_BYTES = 0  # as in the access log, which counts no error page


class ErrorPages:
    """What gunicorn answers in the application's place, by the client's socket."""

    def __init__(self) -> None:
        util: Any = sys.modules["gunicorn.util"]
        self._statuses: dict[int, int] = {}
        self._heads: dict[int, bytes] = {}
        self._write: Callable[..., object] = util.write_error
        util.write_error = self._write_error

    def _write_error(self, sock: Any, status_int: int, *rest: Any, **named: Any) -> object:
        self._statuses[id(sock)] = status_int
        head = self._heads.pop(id(sock), b"")
        return self._write(Heading(sock, head) if head else sock, status_int, *rest, **named)

    def announce(self, sock: Any, headers: TextHeaders) -> None:
        """Have the next page that is written to it say this, too."""
        self._heads[id(sock)] = on_the_wire(headers)

    def answered(self, sock: Any) -> int:
        """The status of the page that was written to it, told once; 0 if there was none."""
        self._heads.pop(id(sock), None)
        return self._statuses.pop(id(sock), 0)


class Heading:
    """A socket that adds to the head of the page that is written to it."""

    def __init__(self, sock: Any, head: bytes) -> None:
        self._sock = sock
        self._head = head

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, page: bytes) -> object:
        """Send the page with its head completed."""
        return self._sock.sendall(page.replace(b"\r\n\r\n", b"\r\n" + self._head + b"\r\n", 1))


def on_error(worker: Any, recorder: Recorder, pages: ErrorPages) -> Callable[[Any, Any, Any, Any], object]:
    """The worker's own `handle_error`, followed by the end of the record."""
    handle: Callable[[Any, Any, Any, Any], object] = worker.handle_error
    scheme = "https" if worker.cfg.is_ssl else "http"

    def handle_error(req: Any, client: Any, addr: Any, exc: Any) -> object:
        slot = getattr(req, "server_tracing", None)
        if recorder.announce is not None and slot is not None:
            pages.announce(client, recorder.announce(slot))
        refused = begin_refusal(recorder, req, addr, exc, scheme)
        try:
            return handle(req, client, addr, exc)
        finally:
            try:
                conclude(recorder, req, exc, pages.answered(client), refused)
            except Exception:  # noqa: BLE001 - an exception of a kind not known here
                recorder.end(slot, Outcome.ERROR)

    return handle_error


def begin_refusal(recorder: Recorder, req: Any, addr: Any, exc: BaseException, scheme: str) -> Refusal | None:
    """Begin the record of a request that never did; None if it is none."""
    with suppress(Exception):  # an exception of a kind not known here
        if getattr(req, "server_tracing", NOT_BEGUN) is NOT_BEGUN and not (
            is_served(exc) or said_nothing(exc)
        ):
            return recorder.begin_refusal(*refusal(req, addr, exc, scheme))
    return None


def conclude(
    recorder: Recorder, req: Any, exc: BaseException, status: int, refused: Refusal | None = None
) -> None:
    """End the record of a request that gunicorn has answered, or refused."""
    slot: Any = getattr(req, "server_tracing", None)
    if refused is not None:
        recorder.end_refusal(refused, status, ending(exc).reason or words(exc), PAGE_BYTES)
    elif slot is not None:
        outcome, reason, raised = ending(exc)
        recorder.end(
            slot,
            outcome,
            slot.status or status,
            PAGE_BYTES,
            body_length(req.headers),
            reason=reason,
            fault=raised and fault_from(raised),
            cpu=cpu_of(req),
        )


def said_nothing(exc: BaseException) -> bool:
    """Whether a connection was refused for its silence: a port that speaks nothing but HTTP/2 does that."""
    return getattr(exc, "data", None) == b""


def body_length(headers: list[tuple[str, str]]) -> int:
    """The length of a request's body, where its head tells."""
    told = dict(headers)
    if "CONTENT-LENGTH" in told:
        return int(told["CONTENT-LENGTH"])
    return -1 if "TRANSFER-ENCODING" in told else 0


def cpu_of(req: Any) -> int:
    """The processor time since the request began, where that is measured."""
    began = getattr(req, "server_tracing_cpu", None)
    return -1 if began is None else time.thread_time_ns() - began
