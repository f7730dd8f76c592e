"""A spool file's inside: records that had to wait, each with its length and a checksum.

What does not check ends the reading: nothing behind it can be trusted, and nothing wrong is ever delivered.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from zlib import crc32

import msgspec

from server_tracing.record import Event, Record, Request, WorkerVitals

MAGIC = b"STSPOOL1"
MAX_FILE = 64 << 20  # larger ones are not ours

_HEAD = struct.Struct("<II")  # length, crc32 of the length and the payload
_LENGTH = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Request | WorkerVitals | Event).decode


def pack(records: Iterable[Record], breathe: Callable[[], None] = lambda: None) -> bytes:
    """Records as the content of a file; `breathe` is called at each of them."""
    parts = [MAGIC]
    for record in records:
        breathe()
        payload = _encode(record)
        parts.append(_HEAD.pack(len(payload), _check(payload)))
        parts.append(payload)
    return b"".join(parts)


def unpack(content: bytes, breathe: Callable[[], None] = lambda: None) -> list[Record]:
    """The records in `content`, as far as it can be trusted. Never raises."""
    records: list[Record] = []
    position = len(MAGIC) if content.startswith(MAGIC) else len(content)
    while position + _HEAD.size <= len(content):
        length, check = _HEAD.unpack_from(content, position)
        start = position + _HEAD.size
        payload = content[start : start + length]
        if len(payload) != length or _check(payload) != check:
            break
        breathe()
        try:
            records.append(_decode(payload))
        except Exception:  # noqa: BLE001 - it checks, but an older release wrote something else
            break
        position = start + length
    return records


def _check(payload: bytes) -> int:
    return crc32(payload, crc32(_LENGTH.pack(len(payload))))
