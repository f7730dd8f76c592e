"""The writing half of a journal: frames into a ring of mapped memory, by any thread, under one short lock.

Closures over local state, because this runs twice in every request: the same code as methods on an object
took 1.13 us a frame where this takes 0.75 (same run; words of memory 40 ns where struct.pack_into took 140,
a lock's acquire and release 110 where `with` took 210).

A frame is `length and kind | check | payload`, 8-byte aligned. The payload is written first and the check
last, and the check depends on the frame's absolute position: neither a half-written frame nor one left
over from the previous lap is ever taken for a frame. Positions only grow; `position % size` is where.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import NamedTuple

from server_tracing.record import Kind
from server_tracing.unpatched import rlock

RING = 16384  # where the ring begins in the file; before it the header and everything that is not a frame
MAX_FRAME = 65536
MINIMAL_END = struct.Struct("<QQHB5x")  # number, stop, status, outcome: what fits whatever was reserved
MINIMAL_ROOM = 8 + MINIMAL_END.size
LOST = 4096  # the word that counts requests let go because the ring was full
CHECK_MASK = 0x3FFFFFFF  # integers of at most 30 bits are CPython's fast ones

_END, _END_MINIMAL = int(Kind.END), int(Kind.END_MINIMAL)


class Ring(NamedTuple):
    """What writers and the reader do with a ring."""

    begin: Callable[
        [int, bytes], bool
    ]  # write a begin and reserve its minimal end; False (and counted as lost) when full
    end: Callable[[bytes | None, bytes], None]  # write the end whole or, without room, in its minimal form
    append: Callable[[int, bytes], bool]  # write any other frame; False when there is no unreserved room
    release: Callable[[int], None]  # everything before this position may be overwritten
    head: Callable[[], int]  # the position behind the newest frame
    disown: Callable[[], None]  # in a forked child: write nothing any more


def ring(memory: mmap.mmap, words: memoryview, size: int, salt: int) -> Ring:
    """A ring of `size` bytes at RING in `memory`; `words` is the same as 32-bit words."""
    # Shared by all threads and changed under the lock: where the next frame goes, its position, the bytes
    # that are free, those of them that are promised to the minimal ends of open requests, what was lost.
    at = head = reserved = released = lost = 0
    free = size - MINIMAL_ROOM  # a minimal end may have to be padded once, at the end of the ring
    lock = rlock()
    acquire, release_lock = lock.acquire, lock.release

    def place(kind: int, payload: bytes, keep: int) -> bool:
        nonlocal at, head, free
        length = len(payload)
        room = length + 15 & ~7
        while length < MAX_FRAME:
            if at + room > size:
                if size - at + room + keep > free:
                    return False
                pad()
                continue
            if room + keep > free:
                return False
            position = head
            start = at + RING + 8
            memory[start : start + length] = payload
            word = start >> 2
            words[word - 2] = length | kind << 24
            words[word - 1] = position + salt & CHECK_MASK
            # A signal handler may have written a frame of its own here in the middle (the lock is
            # reentrant, or it would hang): then ours lies under it, and is written again behind it.
            if head == position:
                head = position + room
                at += room
                free -= room
                return True
        return False

    def pad() -> None:
        nonlocal at, head, free
        position, left = head, size - at
        words[at + RING >> 2] = left - 8
        words[(at + RING >> 2) + 1] = position + salt & CHECK_MASK
        if head == position:
            head = position + left
            free -= left
            at = 0

    def begin(kind: int, payload: bytes) -> bool:
        nonlocal reserved, lost
        acquire()
        try:
            if place(kind, payload, reserved + MINIMAL_ROOM):
                reserved += MINIMAL_ROOM
                return True
            lost += 1
            words[LOST >> 2] = lost & 0xFFFFFFFF
            words[(LOST >> 2) + 1] = lost >> 32
            return False
        finally:
            release_lock()

    def end(payload: bytes | None, minimal: bytes) -> None:
        nonlocal reserved
        acquire()
        try:
            reserved -= MINIMAL_ROOM
            if payload is None or not place(_END, payload, reserved):
                place(_END_MINIMAL, minimal, 0)
        finally:
            release_lock()

    def append(kind: int, payload: bytes) -> bool:
        acquire()
        try:
            return place(kind, payload, reserved)
        finally:
            release_lock()

    def release(position: int) -> None:
        nonlocal free, released
        acquire()
        try:
            free += position - released
            released = position
        finally:
            release_lock()

    def disown() -> None:
        nonlocal acquire, release_lock, free, words
        fresh = rlock()  # the inherited one may be held by a thread that does not exist here
        acquire, release_lock = fresh.acquire, fresh.release
        free = -size
        words = memoryview(bytearray(2 * RING)).cast("I")  # what is counted from now on is nobody's

    return Ring(begin, end, append, release, lambda: head, disown)
