"""The file beside a journal for what its process has to say when it dies: written by faulthandler, adopted
with the journal. Made at its size at once: a full disk must not keep anybody from his last words.
"""

from __future__ import annotations

import contextlib
import os

from server_tracing.journal.locks import OPEN

WORDS = ".words"
ROOM = 65536
MOST = 1 << 20  # bytes that are read of one: it is anybody's

# Where faulthandler writes for as long as this process lives: never closed, only led elsewhere.
_spoken_to: int | None = None


def make(path: str) -> int | None:
    """A new one; the descriptor stays the same whenever a process makes another. None if it cannot be had."""
    with contextlib.suppress(OSError):
        os.unlink(path)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN, 0o600)
    except OSError:
        return None
    try:
        os.posix_fallocate(file, 0, ROOM)
    except OSError:
        os.close(file)
        os.unlink(path)
        return None
    return _lead_to(file)


def read(path: str) -> str:
    """What stands in one; empty if nothing does."""
    try:
        file = os.open(path, os.O_RDONLY | OPEN)
    except OSError:
        return ""
    try:
        return heard(file)
    except OSError:  # a folder
        return ""
    finally:
        os.close(file)


def heard(file: int) -> str:
    """What has been written to this descriptor's file."""
    return os.pread(file, MOST, 0).partition(b"\0")[0].decode("utf-8", "replace")


def erase(file: int) -> None:
    """Make room for the next words."""
    os.pwrite(file, bytes(os.fstat(file).st_size), 0)
    os.lseek(file, 0, os.SEEK_SET)


def _lead_to(file: int) -> int:
    global _spoken_to
    if _spoken_to is None:
        _spoken_to = file
    else:
        os.dup2(file, _spoken_to, inheritable=False)
        os.close(file)
    return _spoken_to


def _in_child() -> None:
    if _spoken_to is not None:  # what a child says when it crashes is not its parent's
        with contextlib.suppress(OSError):
            _lead_to(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))


os.register_at_fork(after_in_child=_in_child)
