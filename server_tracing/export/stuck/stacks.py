"""Stacks as text, with the source lines that were not read while the request ran.

Files are read in our own thread, at most MAX_SOURCE bytes each, and a few are kept. The standard library's
linecache would keep every file for ever, and is shared with the application.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from functools import lru_cache

from server_tracing.record import ExceptionInfo, Fault, Frame
from server_tracing.redact import Redactor

MAX_SOURCE = 1 << 20
MAX_LINE = 200
MAX_FRAMES = 100
MAX_CAUSES = 8


def exception_info(fault: Fault, redactor: Redactor, depth: int = MAX_CAUSES) -> ExceptionInfo:
    """An exception as it is shown."""
    cause = exception_info(fault.cause, redactor, depth - 1) if fault.cause is not None and depth else None
    return ExceptionInfo(
        type=fault.type,
        message=redactor.message(fault.message),
        stack=stack_text(fault.frames, fault.skipped),
        cause=cause,
        frames=fault.frames,
        skipped=fault.skipped,
    )


def stack_text(frames: Sequence[Frame], skipped: int = 0) -> str:
    """Frames as Python prints them, the innermost call last."""
    lines = [_entry(frame) for frame in frames[-MAX_FRAMES:]]
    skipped += max(0, len(frames) - MAX_FRAMES)
    if skipped:
        lines.insert(len(lines) // 2 if len(frames) <= MAX_FRAMES else 0, f"  ... {skipped} frames left out")
    return "\n".join(lines)


def _entry(frame: Frame) -> str:
    entry = f'  File "{frame.path}", line {frame.line}, in {frame.function}'
    source = _source(frame.path, frame.line)
    return f"{entry}\n    {source}" if source else entry


def _source(path: str, line: int) -> str:
    lines = _lines(path) if path.endswith(".py") else ()
    return lines[line - 1] if 0 < line <= len(lines) else ""


@lru_cache(maxsize=64)
def _lines(path: str) -> tuple[str, ...]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ()
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # the name of a pipe must not make us wait
            return ()
        text = file.read(MAX_SOURCE).decode("utf-8", "replace")
    return tuple(line.strip()[:MAX_LINE] for line in text.splitlines())
