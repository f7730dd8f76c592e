"""Writing to the store: one short transaction at a time, beside other processes that do the same.

What was written is whole or absent. A file that was deleted, or set aside by another worker, is made again;
one that proves to be damaged is set aside and the transaction repeated on a new one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from server_tracing.store import file as store_file
from server_tracing.store.file import StoreError
from server_tracing.store.view import View

ATTEMPTS = (
    3  # for the write lock, each waiting BUSY_SECONDS: SQLite's waiting is not a queue, and can be unlucky
)


class Writer(View):
    """A connection that may write, kept on a sound file."""

    def __init__(self, path: str) -> None:
        super().__init__(store_file.write(path), path)

    def _write(self, work: Callable[[], None]) -> None:
        """Do `work` wholly or not at all, on a sound file."""
        if not self.stands:  # deleted, or set aside by another worker
            self._move_to(store_file.write(self.path))
        try:
            self._transaction(work)
        except StoreError as error:
            if error.reason != "damaged":
                raise
            self._move_to(store_file.replace(self.path, self._file))
            self._transaction(work)

    def _transaction(self, work: Callable[[], None]) -> None:
        self._lock()
        try:
            work()
            self._run("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()

    def _lock(self) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._run("BEGIN IMMEDIATE")
                return
            except StoreError as error:
                if error.reason != "busy" or attempt == ATTEMPTS:
                    raise

    def _move_to(self, connection: sqlite3.Connection) -> None:
        self._connection.close()
        self._connection = connection
        self._file = store_file.identity(self.path)

    def _run(self, sql: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise store_file.explain(self.path, error) from error
