"""The reading half of a journal: committed frames, in order, and never a byte that cannot be trusted.

A request pays for no checksum (0.2 us of the 4 it may cost). The reader does: it *seals* every frame that it
has read, by adding the frame's checksum to its check. What is delivered soon never needs it; what a dead
worker left on a disk is verified by whoever adopts it, but for the frames of its last tenth of a second.
Where something is damaged, the frames behind it are found again, and the gap is told as a frame of kind GAP.
"""

from __future__ import annotations

import mmap
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from server_tracing.journal.ring import CHECK_MASK, LAP, MAX_FRAME, RING

SEALED = 0x80000000  # beside the 30 bits of a check
GAP = -1  # no frame, but the place of some that were there

_frame = Struct("<II").unpack_from  # length | kind << 24, check
_LONGEST = MAX_FRAME + 16  # also of what is left at the end of a lap


Frame = tuple[int, int, bytes]  # position, kind, payload


class RawFrame(NamedTuple):
    """A committed frame, not yet decoded."""

    position: int
    kind: int
    payload: bytes


class Frames:
    """The frames of one ring, for its one reader."""

    def __init__(self, memory: mmap.mmap, words: memoryview, size: int, salt: int) -> None:
        self._memory = memory
        self._words = words
        self._size = size
        self._salt = salt
        self.mending = False  # its worker is dead: has damage to be expected, and may we write?
        self.lap_in_doubt = False  # is it unsure of where to begin?

    def read_fresh(self, position: int, limit: int, head: int) -> tuple[list[Frame], int]:
        """What this process has written since the last time, at most `limit` frames; they are sealed.

        One loop over local names: a call and a named tuple a frame took half as long again.
        """
        frames: list[Frame] = []
        memory, words, size, salt = self._memory, self._words, self._size, self._salt
        while len(frames) < limit and position < head:
            offset = position % size
            start, check = RING + offset, position // size * LAP + salt + offset & CHECK_MASK
            tag, found = _frame(memory, start)
            length, kind = tag & 0xFFFFFF, tag >> 24
            if found != check:  # sealed: it has been read before
                return (frames, position) if frames else self.read(position, limit)
            if kind:
                payload = memory[start + 8 : start + 8 + length]
                words[start + 4 >> 2] = check + crc32(payload, tag) & CHECK_MASK | SEALED
                frames.append((position, kind, payload))
            position += length + 15 & ~7
        return frames, position

    def read(self, position: int, limit: int) -> tuple[list[Frame], int]:
        """At most `limit` frames from `position` on, whoever wrote them, and where to go on."""
        frames: list[Frame] = []
        while len(frames) < limit:
            found = self._at(position)
            if found is not None:
                self.lap_in_doubt = False
                kind, payload, behind = found
                if kind:
                    frames.append((position, kind, payload))
            elif self.mending and (behind := self._resume(position)):
                frames.append((position, GAP, b""))
            else:
                break
            position = behind
        return frames, position

    def _at(self, position: int) -> tuple[int, bytes, int] | None:
        """Kind and payload of the frame at `position`, and the position behind it; None if there is none."""
        memory, size = self._memory, self._size
        offset = position % size
        start, check = RING + offset, position // size * LAP + self._salt + offset & CHECK_MASK
        tag, found = _frame(memory, start)
        length, kind = tag & 0xFFFFFF, tag >> 24
        room = length + 15 & ~7
        if length > _LONGEST or offset + room > size:
            return None
        payload = memory[start + 8 : start + 8 + length] if kind else b""
        sealed = check + crc32(payload, tag) & CHECK_MASK | SEALED
        if found == check and kind and self.mending:
            self._words[start + 4 >> 2] = sealed
        elif found == check:
            _, found = _frame(memory, start)  # its worker, alive, may have sealed or overwritten it meanwhile
        return (kind, payload, position + room) if found in (check, sealed) else None

    def _resume(self, position: int) -> int:
        """Where the next frame stands, or 0: one that is damaged may have lost its length, too."""
        size, at = self._size, position + 8
        end = position + (size if self.lap_in_doubt else min(size, MAX_FRAME + 8))
        while at < end:
            lap, offset = divmod(at, size)
            room = min(size - offset, end - at)
            first, check = RING + offset + 4 >> 2, lap * LAP + self._salt + offset
            # In one go, as this is the end of every dead worker's journal: 0.5 ms, one by one it took 4.
            for place, found in enumerate(self._words[first : first + (room >> 2) : 2].tolist()):
                may_be = found & SEALED or found == check + 8 * place & CHECK_MASK
                if may_be and self._at(at + 8 * place) is not None:
                    return at + 8 * place
            at += room
        return 0
