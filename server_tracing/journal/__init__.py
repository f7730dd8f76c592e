"""The wall between capture and export: a ring of frames in a mapped file, one per worker process.

What was written is in the map, and the map outlives the process: no kill can take it back. Writers are
the request threads (ring.py), the one reader is the exporter thread; a journal whose worker is dead is
read by whoever adopted it (journals.py), and by nobody else.

"Full" lets go of the newest request whole, counted in `lost`: a begin also reserves the room of its own
minimal end, so that a request that finished can never look killed.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

import msgspec

from server_tracing.journal.ledger import Checkpoint
from server_tracing.journal.ring import CHECK_MASK, LOST, RING, Ring, new_ring
from server_tracing.record import Kind, Origin

MAGIC = b"STJRNL01"
MAX_ORIGIN = 4096 - 32

# Words that change while the worker lives, each written by one party alone (LOST by the ring).
_HEARTBEAT, _ABORTED, _CLOSED = 4104, 4112, 4120
_CHECKPOINTS = (8192, 12288)  # written in turn, so that one of them is always whole
_CHECKPOINT_ROOM = 4096 - 16

_HEADER = struct.Struct("<8sQII")  # magic, ring size, salt, length of the origin
_WORD = struct.Struct("<Q")
_FRAME = struct.Struct("<II")  # length | kind << 24, check
_CHECKPOINT = struct.Struct("<QII")  # sequence, length, crc32 (reader's thread: it may cost what it costs)

UNKNOWN = 1 << 63  # the head of a journal that another process writes, or wrote: checks tell where it ends
_PAD = int(Kind.PAD)
ABORT_REASONS = ("", "timeout", "signal", "exit")


class JournalError(Exception):
    """The file is no journal of ours, or cannot be read as one."""


class RawFrame(NamedTuple):
    """A committed frame, not yet decoded."""

    position: int
    kind: int
    payload: bytes


class Journal:
    """One worker's ring. `begin`, `end` and `append` may be called by any thread, the rest by its reader."""

    def __init__(
        self, memory: mmap.mmap, origin: Origin, size: int, salt: int, path: str | None = None
    ) -> None:
        self.origin = origin
        self.size = size
        self.path = path
        self.read_only = False
        self.refused = 0  # other frames that were too large or found no room
        self._map = memory
        self._words = memoryview(memory).cast("I")
        self._salt = salt
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
            _WORD.pack_into(self._map, _ABORTED, ABORT_REASONS.index(reason))

    def close_cleanly(self) -> None:
        """Note that the worker ended by itself."""
        if self._ring is not None:
            _WORD.pack_into(self._map, _CLOSED, 1)

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
        return self._lost if self._map.closed else self._word(LOST)

    @property
    def aborted(self) -> str:
        """Why the worker said it was about to die, or ''."""
        code = self._word(_ABORTED)
        return ABORT_REASONS[code] if code < len(ABORT_REASONS) else ""

    @property
    def closed_cleanly(self) -> bool:
        """Did the worker end by itself?"""
        return self._word(_CLOSED) == 1

    @property
    def heartbeat(self) -> int:
        """The last monotonic stamp at which the worker is known to have lived."""
        return self._word(_HEARTBEAT)

    def beat(self, stamp: int) -> None:
        """Note a sign of life."""
        _WORD.pack_into(self._map, _HEARTBEAT, stamp)

    def _word(self, offset: int) -> int:
        word: int = _WORD.unpack_from(self._map, offset)[0]
        return word

    def read(self, position: int, limit: int = 64) -> tuple[list[tuple[int, int, bytes]], int]:
        """At most `limit` committed frames (as RawFrame has them) from `position` on, and the position behind
        them. One loop over local names: a call and a named tuple a frame took half as long again."""
        frames: list[tuple[int, int, bytes]] = []
        memory, size, salt, unpack = self._map, self.size, self._salt, _FRAME.unpack_from
        end = self._ring.head() if self._ring is not None else UNKNOWN
        while len(frames) < limit and position < end:
            offset = position % size
            start = RING + offset
            word, found = unpack(memory, start)
            length, kind = word & 0xFFFFFF, word >> 24
            room = length + 15 & ~7
            if found != position + salt & CHECK_MASK or offset + room > size:
                break
            if kind != _PAD:
                payload = memory[start + 8 : start + 8 + length]
                if self.read_only and unpack(memory, start)[1] != found:
                    break  # its worker, alive, has overwritten it meanwhile
                frames.append((position, kind, payload))
            position += room
        return frames, position

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
        payload = msgspec.msgpack.encode(checkpoint)
        if len(payload) > _CHECKPOINT_ROOM:
            raise JournalError(f"a checkpoint of {len(payload)} bytes does not fit into {_CHECKPOINT_ROOM}")
        self._sequence += 1
        at = _CHECKPOINTS[self._sequence % 2]  # the other one stays valid until this one is complete
        _WORD.pack_into(self._map, at, 0)
        self._map[at + 16 : at + 16 + len(payload)] = payload
        struct.pack_into("<II", self._map, at + 8, len(payload), crc32(payload))
        _WORD.pack_into(self._map, at, self._sequence)
        self._checkpoint = checkpoint
        self._tail = checkpoint.tail
        if self._ring is not None:
            self._ring.release(checkpoint.tail)

    def _restore(self) -> None:
        for at in _CHECKPOINTS:
            sequence, length, crc = _CHECKPOINT.unpack_from(self._map, at)
            if sequence <= self._sequence or length > _CHECKPOINT_ROOM:
                continue
            payload = self._map[at + 16 : at + 16 + length]
            if crc32(payload) == crc:
                self._checkpoint = msgspec.msgpack.decode(payload, type=Checkpoint)
                self._sequence = sequence
        self._tail = max(0, self._checkpoint.tail)

    def refresh(self) -> None:
        """Read the checkpoint again, of a journal that another process is settling."""
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
    encoded = msgspec.msgpack.encode(origin)
    if len(encoded) > MAX_ORIGIN:
        raise JournalError(f"the origin takes {len(encoded)} bytes, {MAX_ORIGIN} fit")
    salt = int.from_bytes(os.urandom(4), "little") & CHECK_MASK  # nobody outside can guess a check
    memory[_HEADER.size : _HEADER.size + len(encoded)] = encoded
    _HEADER.pack_into(memory, 0, MAGIC, size, salt, len(encoded))
    journal = Journal(memory, origin, size, salt, path)
    journal.open_for_writing()
    journal.beat(origin.monotonic)
    return journal


def open_map(memory: mmap.mmap, path: str, *, read_only: bool) -> Journal:
    """Open an existing journal; every byte of it is doubted."""
    if len(memory) < RING:
        raise JournalError(f"{path} is too short for a journal")
    magic, size, salt, length = _HEADER.unpack_from(memory, 0)
    if magic != MAGIC:
        raise JournalError(f"{path} is no journal of this version")
    if length > MAX_ORIGIN or size % 8 or not 0 < size <= len(memory) - RING:
        raise JournalError(f"{path} has a damaged header")
    try:
        origin = msgspec.msgpack.decode(memory[_HEADER.size : _HEADER.size + length], type=Origin)
        journal = Journal(memory, origin, size, salt, path)
        journal.read_only = read_only
        journal._restore()
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise JournalError(f"{path} has a damaged header: {error}") from error
    return journal
