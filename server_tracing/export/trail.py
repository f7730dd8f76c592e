"""A trail: what one request has left in its journal so far, brought together under its number."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from server_tracing.record import Begin, Carried, End, Kind, Note, Span, Stack
from server_tracing.sampling import Told

NOWHERE = -1  # as a pin: the ring keeps nothing for it
NOTES_DROPPED = "notes_dropped"  # the key of metadata that says how many annotations and metadata are missing
_encode = msgspec.msgpack.Encoder().encode


class Trail(Struct, gc=False):
    """What one request has left in the journal so far; whole when it has its `end`."""

    kind: int
    begin: Begin[Any]
    pin: int  # the ring must keep everything from here on, or the request is not whole after a crash
    end: End | None = None
    position: int = -1  # of its end
    first_byte: int = 0
    status: int = 0
    spans: dict[int, Span] | None = None  # by id: a span may come again, when it ends or is carried
    spans_dropped: int = 0
    notes: dict[tuple[str, str, str], Note] | None = None
    notes_dropped: int = 0
    sizes: dict[Hashable, int] | None = None  # of spans and notes, in bytes
    said: int = 0  # all of them
    stack: Stack | None = None
    announced: bool = False  # as one that takes long

    @property
    def rich(self) -> bool:
        """Was anything said of it between its begin and its end?"""
        return self.notes is not None or self.spans is not None or self.stack is not None

    @property
    def told(self) -> Told | None:
        """What others were told of its sampling while it ran, if anybody asked."""
        note = self.notes.get(("sampled", "", "")) if self.notes else None
        if note is not None:
            with suppress(msgspec.ValidationError):
                return msgspec.convert(note.value, Told)
        return None

    @property
    def thread(self) -> int:
        """Whose stack is the request's alone; 0 where it shares one."""
        return self.begin.thread if self.kind == Kind.BEGIN_TEXT else 0

    def frames(self) -> list[tuple[int, bytes]]:
        """The trail so far, as frames to be written once more."""
        carried = Carried(self.kind, _encode(self.begin), self.first_byte, self.status)
        again: list[tuple[int, bytes]] = [(Kind.CARRIED, _encode(carried))]
        again += [(Kind.NOTE, _encode(note)) for note in (self.notes or {}).values()]
        again += [(Kind.SPAN, _encode(span)) for span in (self.spans or {}).values()]
        if self.stack is not None:
            again.append((Kind.STACK, _encode(self.stack)))
        return again


class Loss(NamedTuple):
    """A request that was begun and of which nothing can be told."""

    reason: str
