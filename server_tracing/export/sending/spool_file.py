"""A spool file's inside: records that had to wait, each with its length and a checksum.

Once a backend has taken a part of them, the rest is noted behind them, and counts instead of all that stands
before it: who comes next, also after a kill, sends no more than that. What does not check ends the reading:
nothing behind it can be trusted, and nothing wrong is ever delivered.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Annotated
from zlib import crc32

import msgspec

from server_tracing.record import Event, Record, Request, Running, WorkerVitals

from .spool_names import MOST

MAGIC = b"STSPOOL1"
MAX_FILE = 64 << 20  # larger ones are not ours

_HEAD = struct.Struct("<II")  # length, crc32 of the length and the payload
_LENGTH = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode

Lasting = Request | WorkerVitals | Event
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]


class Rest(msgspec.Struct, tag_field="record", tag="rest"):
    """What is still to be delivered of a file, and what became of the requests that are not."""

    records: list[Lasting]
    delivered: Count = 0
    dropped: dict[str, Count] = {}


_decode = msgspec.msgpack.Decoder(Lasting | Rest).decode


def lasting(records: Iterable[Record]) -> list[Lasting]:
    """Without what says how things stand at the moment: when it is read back, the request may have ended."""
    return [record for record in records if not isinstance(record, Running)]


def pack(records: Iterable[Record], breathe: Callable[[], None] = lambda: None) -> bytes:
    """Records as the content of a file; `breathe` is called at each of them."""
    parts = [MAGIC]
    for record in records:
        breathe()
        parts.append(_entry(record))
    return b"".join(parts)


def note(rest: Rest) -> bytes:
    """What to write behind everything else in a file."""
    return _entry(rest)


def _entry(content: Record | Rest) -> bytes:
    payload = _encode(content)
    return _HEAD.pack(len(payload), _check(payload)) + payload


def unpack(content: bytes, breathe: Callable[[], None] = lambda: None) -> Rest:
    """What `content` holds, as far as it can be trusted. Never raises."""
    found = Rest([])
    position = len(MAGIC) if content.startswith(MAGIC) else len(content)
    while position + _HEAD.size <= len(content):
        length, check = _HEAD.unpack_from(content, position)
        start = position + _HEAD.size
        payload = content[start : start + length]
        if len(payload) != length or _check(payload) != check:
            break
        breathe()
        try:
            entry = _decode(payload)
        except Exception:  # noqa: BLE001 - it checks, but an older release wrote something else
            break
        if isinstance(entry, Rest):
            found = entry
        else:
            found.records.append(entry)
        position = start + length
    return found


def _check(payload: bytes) -> int:
    return crc32(payload, crc32(_LENGTH.pack(len(payload))))
