"""The wall between capture and export: a ring of frames in a mapped file, one per worker process.

What was written is in the map, and the map outlives the process: no kill can take it back. Writers are
the request threads (ring.py), the one reader is the exporter thread (frames.py); a journal whose worker is
dead is read by whoever adopted it (journals.py), and by nobody else. The rest of the file: pages.py.

"Full" lets go of the newest request whole, counted in `lost`: a begin also reserves the room of its own
minimal end, so that a request that finished can never look killed.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator

from server_tracing.journal import pages as pages
from server_tracing.journal.frames import GAP, Frame, Frames, RawFrame
from server_tracing.journal.ledger import Checkpoint
from server_tracing.journal.pages import Header, JournalError
from server_tracing.journal.ring import CHECK_MASK, RING, Ring, new_ring
from server_tracing.record import Origin

COPIED_AT_ONCE = 1 << 18  # bytes

__all__ = ["GAP", "Journal", "JournalError", "RawFrame", "initialise", "open_map", "ring_size", "total_size"]


class Journal:
    """One worker's ring. `begin`, `end` and `append` may be called by any thread, the rest by its reader."""

    def __init__(self, memory: mmap.mmap, header: Header, path: str | None = None) -> None:
        self.origin, self.size, self._salt = header
        self.path = path
        self.read_only = False
        self.cut = False  # the end of its file was missing
        self.moves = 0  # to another file, which may have the same path
        self.refused = 0  # other frames that were too large or found no room
        self._map = memory
        self._words = memoryview(memory).cast("I")
        self._frames = Frames(memory, self._words, self.size, self._salt)
        self._ring: Ring | None = None  # in the process that writes
        self._tail = 0
        self._lost = 0  # as it was when the map was closed
        self._sequence = 0
        self._checkpoint = Checkpoint()

    # ------------------------------------------------------------ writing, inside requests

    def open_for_writing(self) -> None:
        """Become the journal of this process."""
        self._ring = new_ring(self._map, self._words, self.size, self._salt)

    @property
    def live(self) -> bool:
        """Is this the process that writes it?"""
        return self._ring is not None

    @property
    def ring(self) -> Ring:
        """The writing half, for the recorder, which calls its functions without a detour."""
        assert self._ring is not None
        return self._ring

    def append(self, kind: int, payload: bytes) -> bool:
        """Write a frame that is neither begin nor end; False when there is no room that is not reserved."""
        if self._ring is not None and self._ring.write(kind, payload, 0):
            return True
        self.refused += 1
        return False

    def abort(self, reason: str) -> None:
        """Note why the worker is about to die: one store, safe in a signal handler."""
        if self._ring is not None:
            pages.abort(self._map, reason)

    def close_cleanly(self) -> None:
        """Note that the worker ended by itself."""
        if self._ring is not None:
            pages.close_cleanly(self._map)

    def move(self, memory: mmap.mmap, path: str) -> Journal:
        """Stand in another map from now on, while requests go on writing: in a file others can find."""
        words = memoryview(memory).cast("I")
        known, head = 0, self.ring.head()
        self._copy(memory, 0, len(memory))
        while not self.ring.move(memory, words, head):
            known, head = head, self.ring.head()
            self._copy_frames(memory, known, head)
        before, self._map = self._map, memory
        self._words.release()
        self._words, self.path = words, path
        self.moves += 1
        self._frames = Frames(memory, words, self.size, self._salt)
        before.close()
        return self

    def _copy_frames(self, memory: mmap.mmap, start: int, end: int) -> None:
        """Those from position `start` to `end`, which may have gone round."""
        first, last = start % self.size, end % self.size
        if end - start >= self.size or first > last:
            self._copy(memory, RING, len(memory))
        else:
            self._copy(memory, RING + first, RING + last)

    def _copy(self, memory: mmap.mmap, start: int, end: int) -> None:
        for at in range(start, end, COPIED_AT_ONCE):  # no request waits for more
            until = min(at + COPIED_AT_ONCE, end)
            memory[at:until] = self._map[at:until]

    def disown(self) -> None:
        """In a forked child: never touch the parent's journal again, whatever state its lock was in."""
        if self._ring is not None:
            self._ring.disown()
            self._ring = None

    # ------------------------------------------------------------ reading

    @property
    def head(self) -> int:
        """The position behind the newest frame (known only in the process that writes)."""
        return self._ring.head() if self._ring is not None else self._tail

    @property
    def tail(self) -> int:
        """The position of the oldest frame that is not settled."""
        return self._tail

    @property
    def used(self) -> int:
        """Bytes between tail and head."""
        return self.head - self._tail

    @property
    def lost(self) -> int:
        """Requests let go because the ring was full."""
        return self._lost if self._map.closed else pages.lost(self._map, self._checkpoint.lost)

    @property
    def aborted(self) -> str:
        """Why the worker said it was about to die, or ''."""
        return pages.aborted(self._map)

    @property
    def closed_cleanly(self) -> bool:
        """Did the worker end by itself?"""
        return pages.closed_cleanly(self._map)

    @property
    def heartbeat(self) -> int:
        """The last monotonic stamp at which the worker is known to have lived; 0 if that is unknown."""
        return pages.heartbeat(self._map)

    def beat(self, stamp: int) -> None:
        """Note a sign of life."""
        pages.beat(self._map, stamp)

    def read(self, position: int, limit: int = 64) -> tuple[list[Frame], int]:
        """At most `limit` committed frames from `position` on, and the position behind them.

        Of a dead worker's journal a frame of kind GAP says that here some cannot be read any more.
        """
        if self._ring is None:
            return self._frames.read(position, limit)
        return self._frames.read_fresh(position, limit, self._ring.head())

    def frames(self, position: int | None = None) -> Iterator[RawFrame]:
        """Every committed frame from `position` (or the tail) on."""
        position = self._tail if position is None else position
        while True:
            frames, position = self.read(position)
            if not frames:
                return
            yield from map(RawFrame._make, frames)

    # ------------------------------------------------------------ settling

    def checkpoint(self) -> Checkpoint:
        """The counts and positions as last settled."""
        return self._checkpoint

    def settle(self, checkpoint: Checkpoint) -> None:
        """Make `checkpoint` the one that survives, and free the room before its tail."""
        pages.write_checkpoint(self._map, self._sequence + 1, checkpoint)
        self._sequence += 1
        self._checkpoint = checkpoint
        self._tail = checkpoint.tail
        if self._ring is not None:
            self._ring.release(checkpoint.tail)

    def _restore(self) -> None:
        self._sequence, self._checkpoint, self._frames.lap_in_doubt = pages.read_checkpoint(self._map)
        self._tail = self._checkpoint.tail
        if self._tail < 0 or self._tail % 8:
            raise JournalError(f"{self.path} was settled up to where no frame can be")

    def refresh(self) -> None:
        """Read the checkpoint again, of a journal that another process is settling."""
        with contextlib.suppress(JournalError):
            self._restore()

    def close(self) -> None:
        """Let go of the map; the file stays."""
        self.disown()
        self._lost = self.lost
        self._words.release()
        self._map.close()

    def __repr__(self) -> str:
        state = (
            "closed"
            if self._map.closed
            else "live"
            if self.live
            else "read-only"
            if self.read_only
            else "adopted"
        )
        return (
            f"<Journal {self.origin.id} pid {self.origin.pid} · {state} · {max(self.used, 0)} of {self.size}"
            f" bytes used · {self.lost} lost>"
        )


def total_size(size: int) -> int:
    """The size of the file that holds a ring of `size` bytes."""
    return RING + size


def ring_size(wanted: int) -> int:
    """A size the ring can have: whole pages."""
    return max(65536, wanted // 4096 * 4096)


def initialise(memory: mmap.mmap, origin: Origin, size: int, path: str | None = None) -> Journal:
    """Write the header of a new journal into `memory` and open it for writing."""
    salt = int.from_bytes(os.urandom(4), "little") & CHECK_MASK  # nobody outside can guess a check
    header = Header(origin, size, salt)
    pages.write_header(memory, header)
    journal = Journal(memory, header, path)
    journal.open_for_writing()
    journal.beat(origin.monotonic)
    return journal


def open_map(memory: mmap.mmap, path: str, *, read_only: bool) -> Journal:
    """Open an existing journal; every byte of it is doubted."""
    header = pages.read_header(memory, path)
    if header.size > len(memory) - RING:
        raise JournalError(f"{path} is too short")
    journal = Journal(memory, header, path)
    journal.read_only = read_only
    journal._frames.mending = not read_only
    journal._restore()
    return journal
