"""The writing half of a journal: frames into a ring of mapped memory, by any thread and any signal handler.

A frame is `length and kind | check | payload`, 8-byte aligned. The payload is written first and the check
last, and the check depends on the frame's absolute position: neither a half-written frame nor one left
over from the previous lap is ever taken for a frame. Positions only grow; `position % size` is where.

This runs twice in every request, so it is closures over local state and takes no lock: 0.6 us a frame, where
methods on an object took 1.1 and a lock another 0.2 (one run; four threads waited for each other besides).
What must not be torn apart stands on one line without a call or a jump: CPython switches threads, handles
signals and calls trace functions at none but those. Other interpreters get a lock.
"""

from __future__ import annotations

import mmap
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from server_tracing.record import Kind
from server_tracing.unpatched import rlock

RING = 16384  # where the ring begins in the file; before it the header and everything that is not a frame
PAYLOAD = RING + 8
MAX_FRAME = 65536
MINIMAL_END = struct.Struct("<QQHB5x")  # number, stop, status, outcome: what fits whatever was reserved
MINIMAL_ROOM = 8 + MINIMAL_END.size
LOST, LOST_AGAIN = 4096, 4104  # the word that counts requests let go because the ring was full, and its copy
CHECK_MASK = 0x3FFFFFFF  # integers of at most 30 bits are CPython's fast ones
LAP = 0x1E3779B1  # what a lap adds to a check, modulo 2**30: odd, so that no two laps have the same checks

_END_MINIMAL = int(Kind.END_MINIMAL)


class Ring(NamedTuple):
    """What writers and the reader do with a ring."""

    write: Callable[[int, bytes, int], bool]  # (kind, payload, promise); False when there is no room
    end_minimal: Callable[[int, int, int, int], None]  # (number, stop, status, outcome): there is always room
    lose: Callable[[], None]  # count a request for whose begin there was no room
    release: Callable[[int], None]  # everything before this position may be overwritten
    head: Callable[[], int]  # the position behind the newest frame
    move: Callable[[mmap.mmap, memoryview, int], bool]  # write there from now on, if this is still the head
    disown: Callable[[], None]  # in a forked child: write nothing any more


def new_ring(memory: mmap.mmap, words: memoryview, size: int, salt: int) -> Ring:
    """A ring of `size` bytes at RING in `memory`; `words` is the same as 32-bit words."""
    # Shared by all threads: where in the ring the next frame goes, the position of the ring's first byte in
    # this lap and its check, the bytes that are neither used nor promised to the minimal ends of open
    # requests, and the requests that were lost.
    at = lap = released = lost = 0
    first_check = salt & CHECK_MASK
    spare = size - MINIMAL_ROOM  # a minimal end may have to be padded once, at the end of the ring
    disowned = False

    def write(kind: int, payload: bytes, promise: int) -> bool:
        """`promise` is MINIMAL_ROOM for a begin, minus that for its end, 0 for what is neither."""
        nonlocal at, spare
        length = len(payload)
        room = length + 15 & ~7
        while length < MAX_FRAME:
            start = at
            if start + room >= size:
                if size - start + room + promise > spare and kind != _END_MINIMAL:
                    return False
                wrap(start)
                continue
            if room + promise > spare and kind != _END_MINIMAL:
                return False
            first, last, word = start + PAYLOAD, start + PAYLOAD + length, start + RING >> 2
            tag, after, used = length | kind << 24, start + room, room + promise
            # fmt: off
            if at == start: memory[first:last] = payload; words[word] = tag; words[word + 1] = first_check + start & CHECK_MASK; at = after; spare -= used; return True  # noqa: E501, E701, E702
            # fmt: on
        return False

    def wrap(start: int) -> None:
        """Leave the rest of this lap; it is at least 8 bytes, as no frame ends with the ring."""
        nonlocal at, lap, first_check, spare
        left, word = size - start, start + RING >> 2
        # fmt: off
        if at == start: words[word] = left - 8; words[word + 1] = first_check + start & CHECK_MASK; at = 0; lap += size; first_check = lap // size * LAP + salt & CHECK_MASK; spare -= left  # noqa: E501, E701, E702
        # fmt: on

    def end_minimal(number: int, stop: int, status: int, outcome: int) -> None:
        if not disowned:
            known = status if 0 <= status < 1000 else 0
            write(_END_MINIMAL, MINIMAL_END.pack(number, stop, known, outcome), -MINIMAL_ROOM)

    def lose() -> None:
        nonlocal lost
        # fmt: off
        lost += 1; words[LOST >> 2] = words[LOST_AGAIN >> 2] = lost & 0xFFFFFFFF; words[(LOST >> 2) + 1] = words[(LOST_AGAIN >> 2) + 1] = lost >> 32  # noqa: E501, E702
        # fmt: on

    def release(position: int) -> None:
        nonlocal spare, released
        spare += position - released
        released = position

    def head() -> int:
        return lap + at

    def move(to: mmap.mmap, its_words: memoryview, position: int) -> bool:
        """What stands before `position` has been copied."""
        nonlocal memory, words
        # fmt: off
        if lap + at == position: its_words[LOST >> 2] = its_words[LOST_AGAIN >> 2] = lost & 0xFFFFFFFF; its_words[(LOST >> 2) + 1] = its_words[(LOST_AGAIN >> 2) + 1] = lost >> 32; memory = to; words = its_words; return True  # noqa: E501, E701, E702
        # fmt: on
        return False

    def disown() -> None:
        nonlocal spare, words, disowned
        disowned = True
        spare = -2 * size
        words = memoryview(bytearray(2 * RING)).cast("I")  # what is counted from now on is nobody's

    made = Ring(write, end_minimal, lose, release, head, move, disown)
    return made if _one_thread_at_a_time() else _locked(made)


def _one_thread_at_a_time() -> bool:
    """Not CPython 3.10: under a debugger its threads do switch on the lines that must stay whole."""
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)
    return sys.implementation.name == "cpython" and sys.version_info >= (3, 11) and has_gil()


def _locked(made: Ring) -> Ring:
    """The same, one caller at a time. A signal handler that comes in the middle is let in: the lock is
    reentrant, or it would hang; what it then may spoil is one frame."""
    lock = rlock()

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with lock:
                return function(*arguments)

        return call

    def disown() -> None:
        nonlocal lock
        lock = rlock()  # in a forked child the other may be held by a thread that does not exist there
        made.disown()

    return Ring(
        guarded(made.write),
        guarded(made.end_minimal),
        guarded(made.lose),
        guarded(made.release),
        guarded(made.head),
        guarded(made.move),
        disown,
    )
