"""The local store's file: its layout, who may open it how, and what happens to a file that is not a store.

A writer never gives up because of what it finds: a damaged or foreign file is renamed aside and a new one
begun. A reader touches nothing and says in one sentence why it cannot read.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import quote

from server_tracing.statedir import StateDirError, ensure_private_dir, is_private, user_name

FILE = "store.sqlite"  # in the state directory
APPLICATION = 0x53545243  # "STRC", stands in the file's header
VERSION = 1  # of the layout below
BESIDE = ("-wal", "-shm", "-journal")  # files that SQLite opens as well
BUSY_SECONDS = 1.0  # how long SQLite itself waits for another writer; a batch holds the lock for about 1.5 ms

LAYOUT = f"""
CREATE TABLE batches (             -- one compressed blob of records, and what lets a query skip it
    id INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,        -- earliest start in it, us since 1970
    last INTEGER NOT NULL,         -- latest start in it
    slowest REAL NOT NULL,         -- ms
    statuses INTEGER NOT NULL,     -- bit n: a status of n00 to n99 is in it; bit 0: none or another
    outcomes INTEGER NOT NULL,     -- bit n: outcome n is in it
    size INTEGER NOT NULL,
    records BLOB NOT NULL
);
CREATE INDEX batches_by_time ON batches (last, id);
CREATE TABLE traces (batch INTEGER PRIMARY KEY, keys BLOB NOT NULL);
CREATE TRIGGER batches_go AFTER DELETE ON batches BEGIN DELETE FROM traces WHERE batch = old.id; END;
CREATE TABLE minutes (             -- exact counts, and latencies by bucket
    minute INTEGER PRIMARY KEY,    -- since 1970
    counts BLOB NOT NULL
);
CREATE TABLE events (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, record BLOB NOT NULL);
CREATE TABLE vitals (
    source TEXT NOT NULL,
    time INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (source, time)
) WITHOUT ROWID;
CREATE TABLE sources (             -- up to where each journal is stored; folded: its worker is history
    source TEXT PRIMARY KEY,
    upto INTEGER NOT NULL,
    folded INTEGER NOT NULL DEFAULT 0,
    time INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE totals (              -- what workers counted that are gone; exporter '' counts the workers
    exporter TEXT NOT NULL,
    counter TEXT NOT NULL,
    reason TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (exporter, counter, reason)
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""  # noqa: S608 - two constants

_REASONS = (
    ("locked", "busy"),
    ("is full", "disk_full"),
    ("readonly", "read_only"),
    ("unable to open", "unreachable"),
    ("malformed", "damaged"),
    ("not a database", "damaged"),
)

log = logging.getLogger("server_tracing.store")


class StoreError(Exception):
    """The store could not do it; `reason` is a word that loss counters can carry."""

    def __init__(self, message: str, reason: str = "store_error") -> None:
        super().__init__(message)
        self.reason = reason


def explain(path: str, error: BaseException) -> StoreError:
    """What SQLite or the system said, as one sentence with the file in it."""
    text = str(error)
    reason = next((name for words, name in _REASONS if words in text), "disk_error")
    if isinstance(error, StateDirError):
        return StoreError(text, "unreachable")
    if isinstance(error, OSError):
        reason = "busy" if isinstance(error, BlockingIOError) else "unreachable"
        text = error.strerror or text
    return StoreError(f"The store {path} cannot be used: {text}.", reason)


def write(path: str) -> sqlite3.Connection:
    """A connection for one writer, to a store that is sound and ours, made if need be."""
    try:
        with _alone(path):  # of two workers that find a damaged file, one sets it aside
            return _write_alone(path)
    except (OSError, StateDirError, sqlite3.Error) as error:
        raise explain(path, error) from error


def read(path: str) -> sqlite3.Connection:
    """A read-only connection, while writers write; refuses in one sentence."""
    if not os.access(path, os.R_OK):
        raise _unreadable(path)
    for file in (path, *(path + suffix for suffix in BESIDE)):
        if os.path.lexists(file) and not _is_plain(file):  # SQLite would wait for whoever writes to a pipe
            raise StoreError(f"The store {path} cannot be read: {file} is not a plain file.", "damaged")
    folder = os.path.dirname(os.path.abspath(path))
    if not is_private(folder, os.stat(folder).st_uid):  # SQLite opens more files than the one it is told
        raise StoreError(f"The store {path} is not read: other users can write to {folder}.", "unreachable")
    try:
        connection, fault = _try_reading(path)
    except sqlite3.Error as error:
        raise explain(path, error) from error
    if connection is None:
        raise StoreError(f"The store {path} cannot be read: it {fault}.", "damaged")
    return connection


def replace(path: str, damaged: tuple[int, int] | None) -> sqlite3.Connection:
    """As `write`, after setting aside the file that proved to be damaged, unless somebody has already."""
    try:
        with _alone(path):
            if identity(path) == damaged:
                set_aside(path, "is damaged")
            return _write_alone(path)
    except (OSError, StateDirError, sqlite3.Error) as error:
        raise explain(path, error) from error


def identity(path: str) -> tuple[int, int] | None:
    """Tells a file from another one that took its place."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _is_plain(path: str) -> bool:
    return stat.S_ISREG(os.lstat(path).st_mode)


def set_aside(path: str, why: str) -> None:
    """Rename what is in the way, so that nothing anybody may want back is deleted."""
    aside = f"{path}.unusable-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
    for suffix in ("", *BESIDE):
        if os.path.lexists(path + suffix):
            os.rename(path + suffix, aside + suffix)
    log.warning("The store %s %s; it is now %s, and a new one is begun.", path, why, aside)


@contextmanager
def _alone(path: str) -> Iterator[None]:
    ensure_private_dir(os.path.dirname(os.path.abspath(path)))
    descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Wait for it, but not for ever: whoever has it may have been stopped."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _write_alone(path: str) -> sqlite3.Connection:
    connection, fault = _try(path)
    if connection is None:
        set_aside(path, fault)
        connection, fault = _try(path)
    if connection is None:
        raise StoreError(f"The store {path} cannot be made: it {fault}.", "damaged")
    return connection


def _try(path: str) -> tuple[sqlite3.Connection | None, str]:
    """The file at `path` as a store, or None and what is wrong with it."""
    if os.path.lexists(path) and not _is_plain(path):
        return None, "is not a plain file"
    for suffix in BESIDE:
        if os.path.lexists(path + suffix) and not _is_plain(path + suffix):
            os.rename(path + suffix, f"{path}.unusable{suffix}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    owner = os.fstat(descriptor).st_uid
    os.close(descriptor)
    if owner != os.geteuid():
        return None, f"belongs to {user_name(owner)}"
    connection = _connect(f"file:{quote(path)}?mode=rw")
    try:
        fault = _fault(connection)
        if fault in ("", "empty"):
            _prepare(connection, empty=bool(fault))
            return connection, ""
    except sqlite3.DatabaseError as error:
        fault = f"is damaged ({error})"
        if explain(path, error).reason != "damaged":
            connection.close()
            raise
    connection.close()
    return None, fault


def _prepare(connection: sqlite3.Connection, *, empty: bool) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last moments, never the file
    connection.execute(f"PRAGMA journal_size_limit = {8 << 20}")
    if empty:
        connection.executescript(f"BEGIN; {LAYOUT} COMMIT;")


def _fault(connection: sqlite3.Connection) -> str:
    """What is wrong with a store: nothing (""), "empty", or the rest of a sentence that begins with "it"."""
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return "empty"
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        return "belongs to another program"
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        return f"has layout {version}, and this release reads layout {VERSION}"
    return "" if _layout(connection) == _our_layout() else "is not laid out as ours: it is damaged"


def _layout(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """What is in a file, without the comments. A view or a computed column in the place of what we made could
    go on for ever."""
    found = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE substr(name, 1, 7) <> 'sqlite_'"
    ).fetchall()
    return {(kind, name, _without_comments(str(sql))) for kind, name, sql in found}


@cache
def _our_layout() -> set[tuple[str, str, str]]:
    connection = _connect(":memory:")
    try:
        connection.executescript(LAYOUT)
        return _layout(connection)
    finally:
        connection.close()


def _without_comments(sql: str) -> str:
    return " ".join(re.sub("--.*", "", sql).split())


def _try_reading(path: str) -> tuple[sqlite3.Connection | None, str]:
    try:
        return _sound(_connect(f"file:{quote(path)}?mode=ro"))
    except sqlite3.OperationalError:
        if os.path.exists(path + "-wal"):
            raise
    # A store at rest in a directory we cannot write: SQLite cannot make its lock file, nor needs it.
    return _sound(_connect(f"file:{quote(path)}?immutable=1"))


def _sound(connection: sqlite3.Connection) -> tuple[sqlite3.Connection | None, str]:
    try:
        fault = _fault(connection)
    except BaseException:
        connection.close()
        raise
    if fault:
        connection.close()
    # "empty": a worker is making it this very moment
    return (None, fault.replace("empty", "has nothing in it yet")) if fault else (connection, "")


def _connect(uri: str) -> sqlite3.Connection:
    # Made in one thread and closed in another; the owner sees to it that they take turns.
    # Not `connect`: that is what tracers of the application's replace, and then tell of our statements too.
    return sqlite3.Connection(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def _unreadable(path: str) -> StoreError:
    folder = os.path.dirname(path)
    if os.path.exists(path) or (os.path.isdir(folder) and not os.access(folder, os.X_OK)):
        return StoreError(f"The store {path} belongs to another user: run this as its owner.", "unreachable")
    if os.path.lexists(folder) and not os.path.isdir(folder):
        return StoreError(f"There is no store in {folder}: it is not a directory.", "missing")
    return StoreError(f"There is no store in {folder} yet: nothing has been recorded there.", "missing")
