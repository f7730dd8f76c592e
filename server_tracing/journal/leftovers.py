"""What nobody will ever claim: taken away, or the machine's memory would fill with it.

Half-made journals of starts that were killed go at once, unreadable ones after two days, and so do whole ones
whose state directory is gone: nobody who looks for journals will look there again.
"""

from __future__ import annotations

import contextlib
import os
import time

from server_tracing.journal import JournalError, open_map
from server_tracing.journal import locks as locks
from server_tracing.journal import maps as maps
from server_tracing.journal.folders import Folders
from server_tracing.journal.words import WORDS

JOURNAL, LOCK, NEW, UNREADABLE = ".journal", ".lock", ".new", ".unreadable"
KEPT = 48 * 3600  # seconds


def beside(path: str, suffix: str) -> str:
    """The file of the same journal that is called so."""
    return os.path.splitext(path)[0] + suffix


def unlink(*paths: str) -> None:
    """Take away what is there."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)


def sweep(folders: Folders) -> None:
    """Take away everything that is left over."""
    for path in folders.files(LOCK):
        _sweep_half_made(path)
    for path in folders.files(UNREADABLE):
        with contextlib.suppress(OSError):
            if os.lstat(path).st_ctime < time.time() - KEPT:
                os.unlink(path)
    for folder in folders.of_others():
        for path in folders.in_one(folder, JOURNAL):
            _sweep_abandoned(path)


def _sweep_half_made(lock_path: str) -> None:
    journal = beside(lock_path, JOURNAL)
    lock = None if os.path.exists(journal) else locks.claim(lock_path)
    if lock is not None:
        if not os.path.exists(journal):
            unlink(beside(lock_path, NEW), lock_path)
        locks.let_go(lock)


def _sweep_abandoned(path: str) -> None:
    lock = locks.claim(beside(path, LOCK), make=True)
    if lock is not None:
        if _is_abandoned(path):
            unlink(beside(path, WORDS), path, beside(path, LOCK))
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(path))
        locks.let_go(lock)


def _is_abandoned(path: str) -> bool:
    try:
        journal = open_map(maps.look_at(path), path, read_only=True)
    except (OSError, JournalError, ValueError):
        return False
    origin, lived = journal.origin, max(0, journal.heartbeat - journal.origin.monotonic)
    journal.close()
    last_sign = (origin.wall + lived) / 1e9
    return not os.path.lexists(origin.state_dir) and time.time() - last_sign > KEPT
