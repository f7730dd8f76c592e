"""Who owns a journal: whoever holds `flock` on the `<id>.lock` beside it, and nobody else.

A free lock is the only proof of death: pids lie across namespaces. It is never taken on the mapped file,
whose descriptor mmap duplicates; it is taken before the journal becomes visible and held until the process
ends or the file is gone. A lock that is missing proves nothing: somebody may have tidied up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time

ATTEMPTS, PAUSE = 5, 0.002  # seconds: whoever holds it just deletes two files
OPEN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # nobody can send us elsewhere, or make us wait
_held: set[int] = set()  # by this process; given up by a forked child, or it would outlive its parent


def take_new(path: str) -> int:
    """The lock of a journal that is about to be made. Between its making and its taking, somebody who tidies
    up may think that its maker was killed, and take it away: then there is another."""
    for _ in range(ATTEMPTS):
        with contextlib.suppress(BlockingIOError, FileExistsError):
            return _take_new(path)
        time.sleep(PAUSE)
    return _take_new(path)


def _take_new(path: str) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink == 0:
            raise BlockingIOError("the new lock was swept away")
    except OSError:
        os.close(lock)
        raise
    return hold(lock)


def claim(path: str, *, make: bool = False) -> int | None:
    """The lock at `path`, if its owner is dead and nobody else was faster; `make` one that is missing."""
    try:
        lock = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0) | OPEN, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_uid == os.geteuid() and is_at(lock, path):
            return hold(lock)
    except OSError:
        pass  # somebody lives
    os.close(lock)
    return None


def is_held(path: str) -> bool:
    """Does somebody else hold the lock at `path`?"""
    try:
        lock = os.open(path, os.O_RDONLY | OPEN)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def may_be_one(path: str) -> bool:
    """Is there nothing at `path`, or a lock? Something else is nobody's, and proves nothing."""
    try:
        info = os.lstat(path)
    except OSError:
        return True
    return stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid()


def is_at(lock: int, path: str) -> bool:
    """Is it the file at `path` that is open as `lock`? It may have been deleted, or replaced."""
    try:
        held, there = os.fstat(lock), os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)


def hold(lock: int) -> int:
    """Have a forked child give up this descriptor, on which something is locked, until it is let go."""
    _held.add(lock)
    return lock


def let_go(lock: int) -> None:
    """Hold it no longer."""
    _held.discard(lock)
    os.close(lock)


def _in_child() -> None:
    for lock in _held:
        with contextlib.suppress(OSError):
            os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_in_child)
