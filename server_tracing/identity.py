"""The ids of a request, derived from its worker's seed and its number.

Nothing is drawn and nothing is written as hex while a request is served: the reader, the application's own
view and whoever adopts a dead worker's journal all arrive at the same ids from (seed, number, start).
A trace id begins with the epoch second, as X-Ray demands and W3C allows (Trace Context 2, section 3.2.2.3).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from hashlib import blake2b

from server_tracing.record import Origin

_STEP, _MASK = 0x9E3779B97F4A7C15, 0xFFFFFFFFFFFFFFFF  # 2**64 by the golden ratio: neighbours lie far apart
_NO_ID, _FIRST_ID = "0" * 16, "0" * 15 + "1"


def derive(origin: Origin, number: int, start: int) -> tuple[int, int]:
    """The trace id (128 bits) and span id (64 bits) of request `number`, which began at monotonic `start`."""
    digest = blake2b(number.to_bytes(8, "little"), digest_size=20, key=origin.seed).digest()
    second = (origin.wall + start - origin.monotonic) // 1_000_000_000 & 0xFFFFFFFF
    trace_id = second << 96 | int.from_bytes(digest[:12], "big")
    return trace_id, int.from_bytes(digest[12:], "big") or 1


def hexadecimal(origin: Origin) -> Callable[[int, int], tuple[str, str]]:
    """A function like `derive` for this origin that gives the ids as they are written, in a third of the
    time. It belongs to one thread: it remembers the second it wrote last."""
    keyed = blake2b(digest_size=20, key=origin.seed).copy
    offset = origin.wall - origin.monotonic
    last, written = -1, ""

    def ids(number: int, start: int) -> tuple[str, str]:
        nonlocal last, written
        second = (offset + start) // 1_000_000_000
        if second != last:
            last, written = second, f"{second & 0xFFFFFFFF:08x}"
        digest = keyed()
        digest.update(number.to_bytes(8, "little"))
        digits = digest.hexdigest()
        return written + digits[:24], digits[24:] if digits[24:] != _NO_ID else _FIRST_ID

    return ids


def child_span_id(origin: Origin, number: int, index: int) -> int:
    """The id of the `index`-th span (of 4095 at most) made inside request `number`. A walk through all of the
    64 bits in steps of an odd constant: it comes nowhere twice, and takes a quarter of a digest's time."""
    return (int.from_bytes(origin.seed[8:], "little") + (number << 12 | index) * _STEP) & _MASK or 1


def anchor() -> tuple[int, int]:
    """One reading of the wall clock and the monotonic clock, taken together."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    return wall, (before + time.monotonic_ns()) // 2


def boot_id() -> str:
    """Names this run of the machine: monotonic stamps of another one cannot be compared with today's."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:  # a codec that is there
            return file.read().strip()
    except OSError:
        return ""


def new_id() -> str:
    """A random name for a journal."""
    return os.urandom(8).hex()
