"""Exceptions that never reach the server, because a framework answered them with a 500 of its own.

What a framework is known to tell (server_tracing/frameworks) is noted in the request's own environment or
scope, so that it can never become another request's, whatever threads, greenlets or tasks did the work.
Besides, whatever application it is: it may pass `exc_info` to `start_response`, write to `wsgi.errors` while
it handles an exception, or send its response while it does. A note counts if the response is a 5xx, so
nothing needs to know which exceptions are meant as answers.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from server_tracing.capture.faults import fault_from
from server_tracing.frameworks import Served, in_use

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder
    from server_tracing.record import Fault

FAULT = "server_tracing.fault"

_watched: set[tuple[type, ...]] = set()  # in this process; changed by whoever starts to record


def served(app: Any, recorder: Recorder, root_path: str = "") -> None:
    """This application is what the process serves from now on, below that path."""
    if not any(app is known.app for known in recorder.applications):
        recorder.applications.append(Served(app, root_path.rstrip("/")))
    for framework in in_use():
        if framework.classes not in _watched:
            _watched.add(framework.classes)
            try:
                watch = framework.offers("watch")
                if watch is not None:
                    watch(note)
            except Exception as error:  # noqa: BLE001 - half imported, or not as expected
                recorder.mark("unseen", f"what {framework.name} makes of exceptions", fault_from(error))


def note(carrier: dict[str, Any], raised: BaseException) -> None:
    """This exception was answered in the request of that environment or scope. The last one counts, and none
    that is a refusal: it was meant as an answer."""
    with suppress(Exception):  # a carrier of somebody else's making
        if not is_refusal(raised):
            carrier[FAULT] = fault_from(raised)


def note_handled(carrier: dict[str, Any]) -> None:
    """The same of the exception that is being handled right now, if one is."""
    raised = sys.exc_info()[1]
    if raised is not None:
        note(carrier, raised)


def is_refusal(raised: BaseException) -> bool:
    """Whether it says itself that it stands for a status below 500, as frameworks' HTTP exceptions do."""
    try:
        status = getattr(raised, "status_code", None)
    except Exception:  # noqa: BLE001 - its attributes are the application's code
        return False
    return isinstance(status, int) and 100 <= status < 500


def noted(carrier: dict[str, Any]) -> Fault | None:
    """What was noted of a request that was answered with a 5xx."""
    fault = carrier.get(FAULT)
    return fault if fault is not None else getattr(carrier.get("wsgi.errors"), "server_tracing_fault", None)


def watch_error_stream(stream: Any) -> None:
    """Have a server's class of `wsgi.errors`, made anew for every request, remember what was being handled
    when something was written to it."""
    write = stream.write

    def watched(errors: Any, data: Any) -> Any:
        raised = sys.exc_info()[1]
        if raised is not None:
            errors.server_tracing_fault = fault_from(raised)
        return write(errors, data)

    stream.write = watched
