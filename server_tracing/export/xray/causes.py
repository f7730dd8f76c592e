"""What went wrong, as X-Ray shows it: the whole chain of exceptions, each naming the one it came from.

The SDK records one exception without those behind it, and replaces it by a bare id when it passes by twice.
Stacks are in the SDK's order, the innermost call last; paths are relative to the working directory or to
where packages are installed, where the SDK's are bare file names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from server_tracing.record import ExceptionInfo, Frame, Request

from .documents import Cause, StackFrame, Throwable
from .limits import TEXT, cut

# The ids of a document's exceptions lie far apart, and elsewhere than those that identity.py gives to spans.
_STEP, _MASK = 0xD1B54A32D192ED03, 0xFFFFFFFFFFFFFFFF
_PACKAGES = re.compile(r".*/(?:site|dist)-packages/")
_ENTRY = re.compile(r'^  File "(.*)", line ([0-9]+), in (.*)$', re.MULTILINE)


def of_exception(info: ExceptionInfo, owner: str, directory: str, *, remote: bool = False) -> Cause:
    """The cause that an exception is, of the document with the id `owner`."""
    chain = list(_chain(info))
    ids = [_id(owner, place) for place in range(len(chain))]
    return Cause(
        [
            Throwable(
                id=own,
                type=one.type,
                message=one.message,
                remote=remote,
                truncated=one.skipped,
                cause=origin,
                stack=[_frame(frame, directory) for frame in one.frames],
            )
            for one, own, origin in zip(chain, ids, [*ids[1:], None], strict=True)
        ],
        directory,
    )


def of_death(request: Request, directory: str) -> Cause:
    """Why a request has no end: what killed its worker, and where it was when it had been stuck."""
    why = request.reason or "unknown"
    frames = [
        Frame(path, int(line), function) for path, line, function in _ENTRY.findall(request.stack or "")
    ]
    message = f"the worker that served this request was killed: {why}"
    return _told("WorkerKilled", message, request, directory, frames)


def of_refusal(request: Request, directory: str) -> Cause:
    """Why the server did not let a request through to the application."""
    return _told("RequestRejected", request.reason or "", request, directory)


def _told(
    kind: str, message: str, request: Request, directory: str, frames: list[Frame] | None = None
) -> Cause:
    return of_exception(ExceptionInfo(kind, message, frames=frames or []), request.span_id, directory)


def _chain(info: ExceptionInfo | None) -> Iterator[ExceptionInfo]:
    while info is not None:
        yield info
        info = info.cause


def _id(owner: str, place: int) -> str:
    return f"{(int(owner, 16) ^ (place + 1) * _STEP) & _MASK:016x}"


def _frame(frame: Frame, directory: str) -> StackFrame:
    path = frame.path
    if directory and path.startswith(directory + os.sep):
        path = path[len(directory) + 1 :]
    else:
        path = _PACKAGES.sub("", path, count=1)
    return StackFrame(path[-TEXT:], frame.line, cut(frame.function) or "")
