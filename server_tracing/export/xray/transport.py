"""What carries documents to X-Ray: the daemon (datagrams.py), or the API itself (api.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from server_tracing.record import Record


class Sheet(Struct, gc=False):
    """A document, ready to be sent."""

    id: str
    data: bytes


class Transport(Protocol):
    """One way to X-Ray."""

    @property
    def place(self) -> str:
        """Where it leads, for people."""

    def deliver(self, records: Sequence[Record], documents: Callable[[Record], Sequence[Sheet]]) -> None:
        """Send the documents of all of `records`, each made when its turn comes, or raise ExportError."""

    def probe(self, sheet: Sheet) -> str:
        """Send one document and say what came back, or raise ExportError."""

    def close(self) -> None:
        """Let go of what is open."""
