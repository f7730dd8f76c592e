"""Mapped files: made whole before they are used, and opened without trusting what stands at their path."""

from __future__ import annotations

import mmap
import os
import stat

from server_tracing.journal.locks import OPEN
from server_tracing.journal.pages import JournalError, read_header
from server_tracing.journal.ring import RING


def allocate(path: str, size: int) -> tuple[mmap.mmap, int]:
    """A new mapped file whose every page is really there (a sparse one on a full disk is a SIGBUS), and its
    inode."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN, 0o600)
    try:
        os.posix_fallocate(file, 0, size)
        populate = getattr(mmap, "MAP_POPULATE", 0)  # page faults now rather than in requests
        return mmap.mmap(file, size, flags=mmap.MAP_SHARED | populate), os.fstat(file).st_ino
    finally:
        os.close(file)


def look_at(path: str) -> mmap.mmap:
    """Map somebody's journal without touching it."""
    file = os.open(path, os.O_RDONLY | OPEN)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise JournalError(f"{path} is not a file")
        return mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(file)


def adopt(path: str) -> tuple[mmap.mmap, bool]:
    """Map a dead worker's journal, and say whether its end was missing; that is empty now."""
    file = os.open(path, os.O_RDWR | OPEN)
    try:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():
            raise JournalError(f"{path} is not a file of this user")
        size = RING + read_header(os.pread(file, RING, 0), path).size
        if info.st_size < size or info.st_blocks * 512 < size:
            os.posix_fallocate(file, 0, size)  # or a store into its holes could be a SIGBUS
        return mmap.mmap(file, size), info.st_size < size
    finally:
        os.close(file)
