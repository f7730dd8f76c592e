"""Keeps the newest records in memory: for tests, and for looking at a pipeline from inside its process."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from server_tracing.record import Record, Request

from .exporter import Setup

MAX_RECORDS = 100_000


class MemoryExporter:
    """The records, newest last."""

    name = "memory"
    blocking = False
    sampled_only = False
    max_age = 0.0

    def __init__(self, setup: Setup | None = None) -> None:
        self.records: deque[Record] = deque(maxlen=MAX_RECORDS)

    @property
    def requests(self) -> list[Request]:
        """Only the requests."""
        return [record for record in self.records if isinstance(record, Request)]

    def export(self, records: Sequence[Record]) -> None:
        """Keep them."""
        self.records.extend(records)

    def __repr__(self) -> str:
        return f"<MemoryExporter {len(self.records)} records>"
