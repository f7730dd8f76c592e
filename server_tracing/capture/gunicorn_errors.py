"""`Worker.handle_error`: where gunicorn answers instead of the application, and answers what it refuses.

It sees an application's exception after `post_request` did: with the request's record still open, and with
the status that this version of gunicorn chose (a long request line is 400 in 23.0 and 414 in 27).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from server_tracing.capture.faults import fault_from
from server_tracing.capture.gunicorn_outcome import ending, words
from server_tracing.capture.gunicorn_refusals import is_served, refusal
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder

NOT_BEGUN = object()

Answered = Callable[[Any], int]


def watch_error_pages() -> Answered:
    """Note the status of every error page; the function returned tells it, once, by the client's socket."""
    util: Any = sys.modules["gunicorn.util"]
    statuses: dict[int, int] = {}
    write: Callable[..., object] = util.write_error

    def write_error(sock: Any, status_int: int, *rest: Any, **named: Any) -> object:
        statuses[id(sock)] = status_int
        return write(sock, status_int, *rest, **named)

    util.write_error = write_error
    return lambda sock: statuses.pop(id(sock), 0)


def on_error(worker: Any, recorder: Recorder, answered: Answered) -> Callable[[Any, Any, Any, Any], object]:
    """The worker's own `handle_error`, followed by the end of the record."""
    handle: Callable[[Any, Any, Any, Any], object] = worker.handle_error
    scheme = "https" if worker.cfg.is_ssl else "http"

    def handle_error(req: Any, client: Any, addr: Any, exc: Any) -> object:
        try:
            return handle(req, client, addr, exc)
        finally:
            try:
                conclude(recorder, req, addr, exc, answered(client), scheme)
            except Exception:  # noqa: BLE001 - an exception of a kind not known here
                recorder.end(getattr(req, "server_tracing", None), Outcome.ERROR)

    return handle_error


def conclude(recorder: Recorder, req: Any, addr: Any, exc: BaseException, status: int, scheme: str) -> None:
    """End the record of a request that has begun, or write the one of a request that never did."""
    slot: Any = getattr(req, "server_tracing", NOT_BEGUN)
    if slot is NOT_BEGUN:
        if not (is_served(exc) or said_nothing(exc)):
            recorder.rejected(*refusal(req, addr, exc, scheme), status, ending(exc).reason or words(exc))
    elif slot is not None:
        outcome, reason, raised = ending(exc)
        recorder.end(
            slot,
            outcome,
            slot.status or status,
            0,  # as in the access log, which counts no error page
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
