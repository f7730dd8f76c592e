"""Exceptions as the service shows them: each of a chain with its frames, where it was raised first.

OpenCensus' exporter writes the traceback as text where the service takes an array of frames, and the item is
rejected ("106: Field 'parsedStack' ... Expected: array"); and it names the request's parent for the parent of
the exception, which is then found nowhere near its request.
"""

from __future__ import annotations

from collections.abc import Iterator

from server_tracing.record import ExceptionInfo, Frame

from .schema import ERROR, MESSAGE, NAME, VERSION, ExceptionData, ExceptionDetails, StackFrame, cut

MOST_FRAMES = 100  # of one exception; of a deeper stack the middle is left out
MOST_CAUSES = 10
UNNAMED = "<unknown>"  # the service takes no frame without a name
MOST_STACK = 32768  # characters of all frames of one exception, as the vendor's own SDKs have it


def exception_data(info: ExceptionInfo, properties: dict[str, str]) -> ExceptionData:
    """An exception and what it was raised from."""
    details = [_details(number, error) for number, error in enumerate(_chain(info), 1)]
    return ExceptionData(VERSION, details, ERROR, cut(_problem(info), NAME), properties)


def is_exception(info: ExceptionInfo) -> bool:
    """Or only a status that says that a span failed: OpenTelemetry's `error`, gRPC's `NOT_FOUND`?"""
    return bool(info.frames) or not (info.type in ("", "error") or info.type.isupper() or " " in info.type)


def _chain(info: ExceptionInfo) -> Iterator[ExceptionInfo]:
    error: ExceptionInfo | None = info
    for _ in range(MOST_CAUSES):
        if error is None:
            return
        yield error
        error = error.cause


def _details(number: int, error: ExceptionInfo) -> ExceptionDetails:
    frames = _frames(error.frames)
    return ExceptionDetails(
        number,
        cut(error.type or "Exception", NAME),
        cut(error.message or error.type or "Exception", MESSAGE),
        hasFullStack=bool(frames) and len(frames) == len(error.frames),
        outerId=number - 1,
        stack="" if frames else cut(error.stack, MESSAGE),
        parsedStack=frames,
    )


def _frames(frames: list[Frame]) -> list[StackFrame]:
    """Innermost first, as the service counts them: no more than fit, and of too many the two ends."""
    placed = [
        StackFrame(level, cut(frame.function, NAME) or UNNAMED, cut(frame.path, NAME), frame.line)
        for level, frame in enumerate(reversed(frames))
    ]
    if len(placed) > MOST_FRAMES:
        placed = placed[: MOST_FRAMES // 2] + placed[-MOST_FRAMES // 2 :]
    room = MOST_STACK
    for kept, frame in enumerate(placed):
        room -= len(frame.method) + len(frame.fileName)
        if room < 0:
            return placed[:kept]
    return placed


def _problem(error: ExceptionInfo) -> str:
    """What the portal groups by: the type, and where it was raised."""
    where = error.frames[-1].function if error.frames else ""
    return f"{error.type} at {where}" if where else error.type
