"""Backends as one meets them: each notes what it takes in a file of its name, if it takes anything.

They are healthy all of them once BACKENDS_MENDED=1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from server_tracing.export.exporter import ExportError, Setup
from server_tracing.record import Record, Request

NAMES = ("healthy", "dead", "hanging", "slow")


class Healthy:
    """Takes everything."""

    name = "healthy"

    def __init__(self, setup: Setup) -> None:
        self._file = os.path.join(setup.state_dir, f"{self.name}.taken")

    def export(self, records: Sequence[Record]) -> None:
        """Be what one is, then note what was taken."""
        if os.environ.get("BACKENDS_MENDED") != "1":
            self.ail()
        taken = "".join(f"{record.span_id}\n" for record in records if isinstance(record, Request))
        file = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, taken.encode())
        os.close(file)

    def ail(self) -> None:
        """Nothing is wrong."""


class Dead(Healthy):
    """Nobody there."""

    name = "dead"

    def ail(self) -> None:
        raise ExportError("connection refused")


class Hanging(Healthy):
    """Accepts, and says nothing any more."""

    name = "hanging"

    def ail(self) -> None:
        time.sleep(3600)


class Slow(Healthy):
    """Takes its time."""

    name = "slow"
    max_batch = 50

    def ail(self) -> None:
        time.sleep(0.7)
