"""An exporter as somebody could write one, with nothing but the standard library: posts lines of JSON.

INGESTION_URL says where to, INGESTION_CA whom to trust, INGESTION_SPOOL how many bytes may wait on disk.
Named `posting:Posting` in the settings.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import threading
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from server_tracing.export.exporter import ExportError, Setup
from server_tracing.export.pace import Pace
from server_tracing.record import Event, Record, Request

DEADLINE = 4.0  # seconds for everything: a timeout of the socket alone lets a backend drip for ever
LATER = (408, 429, 500, 502, 503, 504)
BROKEN = (OSError, HTTPException, ValueError, AttributeError)  # the last two of a socket closed meanwhile


class Posting:
    """Delivers over HTTP, on one connection that is kept while it works."""

    name = "posting"
    max_age = 0.3
    max_batch = 50  # many calls, and many things that can happen to them

    def __init__(self, setup: Setup) -> None:
        self.spool_size = int(os.environ.get("INGESTION_SPOOL", 50 << 20))
        self._address = urlsplit(os.environ["INGESTION_URL"])
        self._connection: HTTPConnection | None = None
        self._pace = Pace()

    def export(self, records: Sequence[Record]) -> None:
        """All of them, in halves where they are too many at once."""
        waiting, refused = [list(records)], 0
        while waiting:
            part = waiting.pop(0)
            status, pause = self._tried(part, waiting, refused)
            if status == 413 and len(part) > 1:
                waiting[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
            elif status in LATER:
                raise later(f"answered {status}", [part, *waiting], refused, pause)
            elif status != 200:
                refused += sum(isinstance(record, Request) for record in part)
        if refused:
            raise ExportError("refused", permanent=True, remaining=[], refused=refused)

    def _tried(self, part: list[Record], waiting: list[list[Record]], refused: int) -> tuple[int, float]:
        try:
            return self._post(b"".join(map(self._line, part)))
        except BROKEN as error:
            self.close()
            raise later(f"{type(error).__name__}: {error}", [part, *waiting], refused) from error

    def _line(self, record: Record) -> bytes:
        self._pace.breathe()
        return line(record)

    def _post(self, body: bytes) -> tuple[int, float]:
        connection = self._connected()
        alarm = threading.Timer(DEADLINE, hang_up, [connection])
        alarm.daemon = True
        alarm.start()
        try:
            connection.request("POST", "/records", body)
            answer = connection.getresponse()
            answer.read()
            return answer.status, float(answer.headers.get("Retry-After", 0))
        finally:
            alarm.cancel()

    def _connected(self) -> HTTPConnection:
        if self._connection is None:
            where = (str(self._address.hostname), self._address.port)
            if self._address.scheme == "https":
                trust = ssl.create_default_context(cafile=os.environ["INGESTION_CA"])
                self._connection = HTTPSConnection(*where, timeout=DEADLINE, context=trust)
            else:
                self._connection = HTTPConnection(*where, timeout=DEADLINE)
        return self._connection

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def later(why: str, parts: Sequence[list[Record]], refused: int, pause: float = 0.0) -> ExportError:
    """What of a batch is to be tried again."""
    rest = [record for part in parts for record in part]
    return ExportError(why, remaining=rest, refused=refused, retry_after=pause or None)


def line(record: Record) -> bytes:
    """A record as one line."""
    if isinstance(record, Request):
        told: dict[str, object] = {"id": record.span_id, "path": record.path, "outcome": record.outcome}
    elif isinstance(record, Event):
        told = {"event": record.what, "detail": record.detail}
    else:
        told = {"vitals": record.worker_pid}
    return json.dumps(told).encode() + b"\n"


def hang_up(connection: HTTPConnection) -> None:
    """Time is up."""
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it, as closing does not
