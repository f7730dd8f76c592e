"""The local store: everything this host saw for a while, in SQLite, needing no account.

Called by the reader itself: a batch takes about 2 ms, and the store remembers in the same transaction how far
the journal is stored, so that nothing is stored twice whoever dies when.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from server_tracing.config import Config
from server_tracing.journal.ledger import Checkpoint
from server_tracing.record import Record
from server_tracing.store import FILE, Store, StoreError

from .exporter import ExportError, Setup


class Opener:
    """The store of a state directory, opened when it is first needed, and again after it could not be."""

    def __init__(self, config: Config) -> None:
        self._path = os.path.join(config.state_dir, FILE)
        self._local = config.local
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """The open store; StoreError if it cannot be had."""
        if self._store is None:
            self._store = Store(self._path, self._local.max_size, self._local.retention)
        return self._store

    def fold(self, source: str, checkpoint: Checkpoint) -> None:
        """Add a finished journal's counts to the totals, once."""
        self.store.fold(source, checkpoint)

    def close(self) -> None:
        """Close what is open."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def __repr__(self) -> str:
        return f"<Opener {self._store!r}>" if self._store else f"<Opener of {self._path} · not open>"


class LocalExporter:
    """Appends to the local store."""

    name = "local"
    blocking = False
    max_batch = 500
    max_age = 0.4

    def __init__(self, setup: Setup) -> None:
        self.sampled_only = setup.config.local.sampled_only
        self.opener = Opener(setup.config)
        self._self = f"{setup.service}/{os.getpid()}"

    def export(self, records: Sequence[Record]) -> None:
        """Store records that come from no journal."""
        self.export_up_to(records, self._self, self.acked(self._self) + 1)

    def export_up_to(self, records: Sequence[Record], source: str, position: int) -> None:
        """Store records, and that `source` is now stored up to `position`."""
        try:
            self.opener.store.append(records, source, position)
        except StoreError as error:
            raise ExportError(str(error), reason=error.reason) from error

    def acked(self, source: str) -> int:
        """How far `source` is stored."""
        try:
            return self.opener.store.acked(source)
        except StoreError as error:
            raise ExportError(str(error), reason=error.reason) from error

    def close(self) -> None:
        """Let go of the file."""
        self.opener.close()

    def __repr__(self) -> str:
        return f"<LocalExporter {self.opener!r}>"
