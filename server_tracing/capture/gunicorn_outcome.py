"""What became of a request whose handling ended with an exception.

gunicorn tells no hook whether the application failed, the client left or the worker had to go, so it is
read off the exception: its class, and whose code raised it (an application's own broken pipe to its
database is no disconnected client).
"""

from __future__ import annotations

import re
from types import FrameType
from typing import Any, NamedTuple

from server_tracing.record import Outcome

PLUMBING = frozenset(
    ("socket", "ssl", "gevent", "select", "selectors")
)  # on whose behalf it was called counts
NO_REFUSAL = ("NoMoreData", "InvalidResponseHeader", "InvalidResponseHeaderName")
HTTP2_GONE = ("HTTP2StreamError", "HTTP2ConnectionError")


class Ending(NamedTuple):
    """How a request ended; `exc` is what the application raised, if it did."""

    outcome: Outcome
    reason: str = ""
    exc: BaseException | None = None


FINE = Ending(Outcome.OK)
DISCONNECTED = Ending(Outcome.DISCONNECTED)


def ending(exc: BaseException) -> Ending:
    """What an exception that left a worker's `handle_request` means."""
    if is_own_stop(exc):
        return FINE if exc.__context__ is None else ending(exc.__context__)
    if is_named(exc, "GreenletExit"):  # the worker's graceful timeout is over
        return Ending(Outcome.KILLED, "exit", exc)
    frames = frames_of(exc)
    frame = raising(frames)
    if frame is None or not is_servers(module_of(frame)):
        return Ending(Outcome.ERROR, "", exc)
    if isinstance(exc, SystemExit):  # raised by a signal handler, wherever the request was
        return Ending(Outcome.KILLED, aborted(frame) or "exit", exc)
    if type(exc).__module__ == "gunicorn.http.errors" and not is_named(exc, *NO_REFUSAL):
        return Ending(Outcome.REJECTED, words(exc))  # a body that is no HTTP, read by the application
    if isinstance(exc, OSError) or is_named(exc, *HTTP2_GONE):
        return DISCONNECTED
    return Ending(Outcome.ERROR, "", exc)


def is_close(exc: BaseException) -> bool:
    """Whether it only says "close the connection" after a complete response, as gevent's worker does."""
    return exc.__class__ is StopIteration and exc.__context__ is None and is_own_stop(exc)


def is_own_stop(exc: BaseException) -> bool:
    """Whether it is a StopIteration of gunicorn's own: what failed in mid-stream is its context."""
    traceback = exc.__traceback__
    return isinstance(exc, StopIteration) and traceback is not None and traceback.tb_next is None


def frames_of(exc: BaseException) -> list[FrameType]:
    """The frames it passed, innermost first."""
    frames = []
    traceback = exc.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return frames[::-1]


def raising(frames: list[FrameType]) -> FrameType | None:
    """The frame that raised, the sockets' own left out."""
    for frame in frames:
        if module_of(frame).partition(".")[0] not in PLUMBING:
            return frame
    return None


def aborted(frame: FrameType) -> str:
    """Why, if it is the handler of SIGABRT: our hook ran in it, and left word on the worker."""
    if frame.f_code.co_name != "handle_abort":
        return ""
    return str(getattr(frame.f_locals.get("self"), "server_tracing_aborted", "timeout"))


def is_servers(module: str) -> bool:
    """Whether this is the server's code, or ours in between."""
    return module.startswith(("gunicorn.", "server_tracing.capture."))


def module_of(frame: FrameType) -> str:
    """The name of the module a frame's code is of."""
    return str(frame.f_globals.get("__name__", ""))


def is_named(exc: BaseException, *names: str) -> bool:
    """Whether it is of a class of that name: of packages that may not be installed."""
    return any(kind.__name__ in names for kind in type(exc).__mro__)


def answers(worker: Any) -> Any:
    """A function that says whether this worker's `handle` passes such an exception to `handle_error`, which
    answers it. Differs between workers and versions, and shows in nothing but their code: from 23.0 on some
    catch BaseException, and gevent's drops two of those before."""
    everything = "BaseException" in names_used(worker, "handle")
    dropped = ("GreenletExit", "SystemExit") if "GreenletExit" in names_used(worker, "handle_request") else ()

    def answered(exc: BaseException) -> bool:
        if isinstance(exc, Exception):
            return not isinstance(exc, (OSError, StopIteration))
        return everything and not is_named(exc, *dropped)

    return answered


def names_used(worker: Any, method: str) -> set[str]:
    """The global and attribute names in the code of a worker's method and those it overrides."""
    methods = [vars(kind)[method] for kind in type(worker).__mro__ if method in vars(kind)]
    return {name for found in methods for name in getattr(getattr(found, "__code__", None), "co_names", ())}


def words(exc: BaseException) -> str:
    """Its class in words. Not its text: that may quote headers, and headers hold secrets."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", type(exc).__name__).lower()
