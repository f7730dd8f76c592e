"""What stands before the ring in a journal's file: whose it is, a few words, and how far it was settled.

A journal may stand on a disk for days before anybody reads it, so damage has to show: the header is there
twice, each with a checksum; of two checkpoints, written in turn, one is always whole; and every word is
written in a way that a flipped bit gives away. Frames are in ring.py.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple
from zlib import crc32

import msgspec

from server_tracing.journal.ledger import Checkpoint
from server_tracing.journal.ring import LOST, LOST_AGAIN
from server_tracing.record import Origin

MAGIC = b"STJRNL02"
LARGEST = 1 << 30  # ring
ABORT_REASONS = ("", "timeout", "signal", "exit", "signal 6")

_HEADERS = (0, 5120)
_HEADER = struct.Struct("<8sQIII")  # magic, ring size, salt, length of the origin, crc32 of all but the magic
MAX_ORIGIN = 8192 - _HEADERS[1] - _HEADER.size

# Words that change while the worker lives, each written by one party alone (LOST by the ring).
_HEARTBEAT, _ABORTED, _CLOSED = 4112, 4144, 4152
_CHECKPOINTS = (8192, 12288)
_CHECKPOINT = struct.Struct("<QII")  # sequence, length, crc32 of both and the content
CHECKPOINT_ROOM = 4096 - _CHECKPOINT.size

MOST_LOST = 1 << 32  # requests between two settlements: more is no count, whatever stands there
_WORD = struct.Struct("<Q")
_BEAT = struct.Struct("<QQQQ")  # a stamp and its negative, twice
_EVERY_BIT = 2**64 - 1
_EIGHT_TIMES = 0x0101010101010101  # a small number in each byte of a word: no one bit makes it another

Memory = mmap.mmap | bytes


class JournalError(Exception):
    """The file is no journal of ours, or cannot be read as one."""


class Header(NamedTuple):
    """What is fixed when a journal is made."""

    origin: Origin
    size: int  # of the ring
    salt: int


# ---------------------------------------------------------------- the header


def write_header(memory: mmap.mmap, header: Header) -> None:
    """Say whose journal this is, twice."""
    origin = msgspec.msgpack.encode(header.origin)
    if len(origin) > MAX_ORIGIN:
        raise JournalError(f"the origin takes {len(origin)} bytes, {MAX_ORIGIN} fit")
    check = _header_check(header.size, header.salt, origin)
    for at in _HEADERS:
        memory[at + _HEADER.size : at + _HEADER.size + len(origin)] = origin
        _HEADER.pack_into(memory, at, MAGIC, header.size, header.salt, len(origin), check)


def read_header(memory: Memory, path: str) -> Header:
    """Whose journal this is, as the first or else the second copy says; every byte is doubted."""
    for at in _HEADERS:
        if len(memory) < at + _HEADER.size:
            break
        magic, size, salt, length, check = _HEADER.unpack_from(memory, at)
        encoded = memory[at + _HEADER.size : at + _HEADER.size + min(length, MAX_ORIGIN)]
        if size % 8 or not 0 < size <= LARGEST:
            continue
        if magic == MAGIC and check == _header_check(size, salt, encoded):
            return Header(_origin(encoded, path), size, salt)
    raise JournalError(f"{path} is no journal of this version, or its header is damaged")


def _header_check(size: int, salt: int, origin: bytes) -> int:
    return crc32(origin, crc32(struct.pack("<QII", size, salt, len(origin))))


def _origin(encoded: bytes, path: str) -> Origin:
    try:
        return msgspec.msgpack.decode(encoded, type=Origin)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise JournalError(f"{path} has a header that cannot be read: {error}") from error


# ---------------------------------------------------------------- words


def beat(memory: mmap.mmap, stamp: int) -> None:
    """Note a sign of life."""
    _BEAT.pack_into(memory, _HEARTBEAT, *(stamp, stamp ^ _EVERY_BIT) * 2)


def heartbeat(memory: Memory) -> int:
    """The last sign of life; 0 when it cannot be trusted."""
    one, not_one, two, not_two = _BEAT.unpack_from(memory, _HEARTBEAT)
    return next(
        (stamp for stamp, other in ((one, not_one), (two, not_two)) if stamp ^ other == _EVERY_BIT), 0
    )


def abort(memory: mmap.mmap, reason: str) -> None:
    """Note why the worker is about to die: one store."""
    _WORD.pack_into(memory, _ABORTED, ABORT_REASONS.index(reason) * _EIGHT_TIMES)


def aborted(memory: Memory) -> str:
    """Why the worker said it was about to die, or ''."""
    code, rest = divmod(_WORD.unpack_from(memory, _ABORTED)[0], _EIGHT_TIMES)
    return ABORT_REASONS[code] if not rest and code < len(ABORT_REASONS) else ""


def close_cleanly(memory: mmap.mmap) -> None:
    """Note that the worker ended by itself."""
    _WORD.pack_into(memory, _CLOSED, _EIGHT_TIMES)


def closed_cleanly(memory: Memory) -> bool:
    """Did the worker end by itself?"""
    return bool(_WORD.unpack_from(memory, _CLOSED)[0] == _EIGHT_TIMES)


def lost(memory: Memory, known: int) -> int:
    """Requests let go because the ring was full, of which `known` had been settled: of two copies the one
    that can be true, as only ever a few are lost between two settlements."""
    copies = [_WORD.unpack_from(memory, at)[0] for at in (LOST, LOST_AGAIN)]
    return min((copy for copy in copies if known <= copy < known + MOST_LOST), default=known)


# ---------------------------------------------------------------- checkpoints


def write_checkpoint(memory: mmap.mmap, sequence: int, checkpoint: Checkpoint) -> None:
    """Settle on `checkpoint`; the one before stays valid until this one is complete."""
    content = msgspec.msgpack.encode(checkpoint)
    if len(content) > CHECKPOINT_ROOM:
        raise JournalError(f"a checkpoint of {len(content)} bytes does not fit into {CHECKPOINT_ROOM}")
    at = _CHECKPOINTS[sequence % 2]
    _WORD.pack_into(memory, at, 0)
    memory[at + _CHECKPOINT.size : at + _CHECKPOINT.size + len(content)] = content
    struct.pack_into("<II", memory, at + 8, len(content), _checkpoint_check(sequence, content))
    _WORD.pack_into(memory, at, sequence)


def read_checkpoint(memory: Memory) -> tuple[int, Checkpoint, bool]:
    """The newest one that is whole, its sequence, and whether a newer one may have been damaged."""
    newest, checkpoint, doubtful = 0, Checkpoint(), False
    for at in _CHECKPOINTS:
        sequence, length, check = _CHECKPOINT.unpack_from(memory, at)
        content = memory[at + _CHECKPOINT.size : at + _CHECKPOINT.size + min(length, CHECKPOINT_ROOM)]
        found = _checkpoint(content) if check == _checkpoint_check(sequence, content) else None
        if found is not None and sequence > newest:
            newest, checkpoint = sequence, found
        doubtful |= found is None and (sequence, length) != (0, 0)
    return newest, checkpoint, doubtful


def _checkpoint(content: bytes) -> Checkpoint | None:
    try:
        return msgspec.msgpack.decode(content, type=Checkpoint)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _checkpoint_check(sequence: int, content: bytes) -> int:
    return crc32(content, crc32(struct.pack("<QI", sequence, len(content))))
