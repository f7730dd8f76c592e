"""One readable line per request on standard error, and one for everything that happened to the worker.

Whatever a request holds, it is one line: control characters and what a terminal would obey are escaped. A
terminal or pipe can be stopped by whoever reads it, so this is a blocking exporter with a thread of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from server_tracing.record import Event, Record, Request, WorkerVitals

from .exporter import ExportError, Setup

MAX_PATH = 200


class ConsoleExporter:
    """Writes lines for people."""

    name = "console"
    sampled_only = False
    max_age = 0.2
    spool_size = 0  # lines that nobody reads now are of no use later

    def __init__(self, setup: Setup | None = None, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lines = 0

    def export(self, records: Sequence[Record]) -> None:
        """Write the records' lines, in order."""
        lines = [shown for record in records if (shown := line(record))]
        stream = self._stream or sys.stderr
        try:
            stream.write("".join(text + "\n" for text in lines))
            stream.flush()
        except (OSError, ValueError) as error:  # closed, or nobody reads it any more
            raise ExportError(
                f"cannot write to the console: {error}", permanent=True, reason="closed"
            ) from error
        self._lines += len(lines)

    def __repr__(self) -> str:
        return f"<ConsoleExporter {self._lines} lines written>"


def line(record: Record) -> str:
    """A record as one line; vitals have none."""
    if isinstance(record, Request):
        return _request(record)
    if isinstance(record, Event):
        return _event(record)
    assert isinstance(record, WorkerVitals)
    return ""


def _request(request: Request) -> str:
    target = (request.path or "-") + (f"?{request.query}" if request.query else "")
    words = [
        f"{request.start:%H:%M:%S.%f}"[:-3],
        str(request.status or "---"),
        f"{request.duration_ms:8.1f} ms",
        request.method or "-",
        target if len(target) <= MAX_PATH else target[:MAX_PATH] + "...",
    ]
    if request.outcome != "ok":
        words.append(request.outcome + (f" ({request.reason})" if request.reason else ""))
    if request.exception is not None:
        words.append(f"{request.exception.type}: {request.exception.message}")
    words.append(f"[{request.service} {request.worker_pid} {request.trace_id}]")
    return printable(" ".join(words))


def _event(event: Event) -> str:
    detail = f": {event.detail}" if event.detail else ""
    return printable(
        f"{event.time:%H:%M:%S.%f}"[:-3] + f" --- {event.what}{detail} [{event.service} {event.worker_pid}]"
    )


def printable(text: str) -> str:
    """`text` with everything a terminal would act upon, and everything invisible, as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )
