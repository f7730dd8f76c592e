"""What this worker has in flight, seen from both sides: what the recorder holds, and what the reader knows.

What is found out about a request while it runs is written into the journal at once: it is there even if the
worker is killed a moment later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from server_tracing.export.join import Joiner
from server_tracing.export.trail import Trail
from server_tracing.journal import Journal
from server_tracing.record import Head, Kind, Stack

_encode = msgspec.msgpack.Encoder().encode


class Slot(Protocol):
    """An open request, as the recorder keeps it."""

    number: int
    start: int
    thread: int
    first_byte: int
    status: int


class InFlight:
    """A worker's open requests. Touched by the reader's thread alone, but for `slots`, which others fill."""

    def __init__(self, journal: Journal, joiner: Joiner, slots: Callable[[], Iterable[Slot]]) -> None:
        self._journal = journal
        self._joiner = joiner
        self._slots = slots

    @property
    def ring(self) -> int:
        """Bytes in the journal's ring."""
        return self._journal.size

    def is_open(self, number: int) -> bool:
        """Has the reader read its begin, and not its end?"""
        return self._joiner.find(number) is not None

    def beginning_to_answer(self) -> Iterator[Slot]:
        """Those whose response has begun, which nobody has written down."""
        for slot in list(self._slots()):
            trail = self._joiner.find(slot.number) if slot.first_byte else None
            if trail is not None and not trail.first_byte:
                yield slot

    def stuck(self, since: int) -> Iterator[tuple[Slot, Trail]]:
        """Those that began before, and of which nobody knows where they are."""
        for slot in list(self._slots()):
            trail = self._joiner.find(slot.number) if slot.start < since else None
            if trail is not None and trail.stack is None:
                yield slot, trail

    def tell_head(self, head: Head) -> None:
        """Write down that the response of one has begun."""
        trail = self._joiner.find(head.number)
        if trail is not None and self._journal.append(Kind.HEAD, _encode(head)):
            trail.first_byte, trail.status = head.first_byte, head.status

    def tell_stack(self, stack: Stack, room: int | None = None) -> int:
        """Write down where one is, in `room` bytes at most; how many it took, 0 if it could not be."""
        trail, encoded = self._joiner.find(stack.number), _encode(stack)
        if trail is None or not stack.frames or (room is not None and len(encoded) > room):
            return 0
        if not self._journal.append(Kind.STACK, encoded):
            return 0
        trail.stack = stack
        return len(encoded)
