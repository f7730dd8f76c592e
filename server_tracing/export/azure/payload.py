"""Items as bytes, and bodies of requests made of them: JSON, gzip, no more than the service takes.

gzip at level 1 takes half the processor time of level 6 for a fifth more bytes (measured).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from .schema import Envelope, cut

MAX_ITEM = 64 << 10  # bytes; what is larger the service rejects
MAX_BODY = 1 << 20  # bytes before compression
MAX_ITEMS = 1000
LEVEL = 1
AT_ONCE = 64
GZIP = 31  # wbits: a gzip header and the largest window

_encode = msgspec.json.Encoder(enc_hook=str).encode


def encode(envelope: Envelope) -> bytes:
    """One item; one that is too large is shortened. UnicodeEncodeError for text that is none: `readable`."""
    item = _encode(envelope)
    return item if len(item) <= MAX_ITEM else shrunk(item)


def encode_any(item: Any) -> bytes:
    """An item that a telemetry processor may have put anything into."""
    try:
        encoded = _encode(item)
    except (UnicodeEncodeError, ValueError):
        encoded = _encode(_readable(item))
    return encoded if len(encoded) <= MAX_ITEM else shrunk(encoded)


def readable(record: Any) -> Any:
    """A record with half a surrogate pair in it (an application may say that), as one that can be encoded."""
    return msgspec.convert(_readable(msgspec.to_builtins(record)), type(record))


def shrunk(item: bytes) -> bytes:
    """An item with its texts and lists cut until it fits."""
    envelope = msgspec.json.decode(item)
    for limit in (2048, 512, 128, 32):
        envelope["data"]["baseData"] = _shortened(envelope["data"]["baseData"], limit)
        item = _encode(envelope)
        if len(item) <= MAX_ITEM:
            break
    return item


def _shortened(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return cut(value, limit)
    if isinstance(value, list):
        return [_shortened(inner, limit) for inner in value[: limit // 8]]
    if isinstance(value, dict):
        return {key: _shortened(value[key], limit) for key in value if not _is_long_json(value[key], limit)}
    return value


def _is_long_json(value: Any, limit: int) -> bool:
    """Half a list of links is no list: it goes as a whole."""
    return isinstance(value, str) and len(value) > limit and value[:1] in ("[", "{")


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_readable(key): _readable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_readable(inner) for inner in value]
    return value


def chunks(items: Sequence[bytes], most_bytes: int = MAX_BODY) -> Iterator[tuple[int, int]]:
    """Runs of items that may travel together, as (first, behind the last)."""
    first, size = 0, 0
    for place, item in enumerate(items):
        if place > first and (size + len(item) > most_bytes or place - first >= MAX_ITEMS):
            yield first, place
            first, size = place, 0
        size += len(item) + 1
    if first < len(items):
        yield first, len(items)


def body(items: Sequence[bytes]) -> bytes:
    """A JSON array of items, compressed; some at a time, which stay in the processor's caches."""
    compress = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
    parts, sign = [], b"["
    for first in range(0, len(items), AT_ONCE):
        parts.append(compress.compress(sign + b",".join(items[first : first + AT_ONCE])))
        sign = b","
    return b"".join([*parts, compress.compress(b"]"), compress.flush()])
