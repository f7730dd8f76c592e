"""Frames into requests: what one request left in the journal, brought together under its number.

A frame is never trusted: it is decoded into a typed struct, and whatever that raises costs one frame and a
count. What is still open is what is in flight; in the journal of a dead worker, what it was killed with.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from server_tracing.journal import GAP
from server_tracing.journal.ring import MINIMAL_END
from server_tracing.record import (
    Begin,
    Carried,
    End,
    Head,
    Kind,
    Mark,
    Note,
    Span,
    Stack,
    Vitals,
)

from .trail import NOTES_DROPPED, NOWHERE, Loss, Trail

MAX_SPANS = 1000  # of one request; the rest is counted
MAX_NOTES = 1000
# Bytes of spans and notes, kept in memory until their request ends: of one, and of all that are open.
MAX_SAID, MAX_SAID_BY_ALL = 2 << 20, 8 << 20

_begin_text = msgspec.msgpack.Decoder(Begin[str]).decode
_begin_bytes = msgspec.msgpack.Decoder(Begin[bytes]).decode
_carried = msgspec.msgpack.Decoder(Carried).decode
_head = msgspec.msgpack.Decoder(Head).decode
_end = msgspec.msgpack.Decoder(End).decode
_span = msgspec.msgpack.Decoder(Span).decode
_note = msgspec.msgpack.Decoder(Note).decode
_stack = msgspec.msgpack.Decoder(Stack).decode
_vitals = msgspec.msgpack.Decoder(Vitals).decode
_mark = msgspec.msgpack.Decoder(Mark).decode


Joined = Trail | Vitals | Mark | Loss | None
Handler = Callable[[int, bytes], Joined]  # of a frame's position and payload


class Joiner:
    """The open requests of one journal. Begins before `counted_from` were counted by an earlier reader.

    `adopted` says that the journal's earlier reader is gone, and with it what it knew: then a carried begin
    opens a request, unless the request's end was found before it.
    """

    def __init__(self, *, adopted: bool = False, counted_from: int = 0) -> None:
        self.open: dict[int, Trail] = {}  # ordered by pin
        self.afloat: dict[int, Trail] = {}  # open too, but in memory alone
        self.begun = 0
        self.ended = 0
        self.said = 0  # bytes of spans and notes of open requests
        self.garbled = 0
        self.strangers = 0  # frames of requests that are not open: late spans, mostly
        self.gaps = 0  # places where frames are missing, in a journal that was damaged
        self.doubtful: set[int] = set()  # open requests that may have ended in one
        self._counted_from = counted_from
        self._gone: dict[int, int] | None = {} if adopted else None  # number -> where its end was found
        self._moving: dict[int, int] = {}  # carried, and not yet read back -> where its end was found, or -1
        self._zones: list[tuple[int, int]] = []
        handlers: dict[int, Handler] = {
            Kind.BEGIN_TEXT: self._beginner(Kind.BEGIN_TEXT, _begin_text),
            Kind.BEGIN_BYTES: self._beginner(Kind.BEGIN_BYTES, _begin_bytes),
            Kind.CARRIED: self._carried,
            Kind.HEAD: self._head,
            Kind.END: self._whole_end,
            Kind.END_MINIMAL: self._minimal_end,
            Kind.SPAN: self._span,
            Kind.NOTE: self._note,
            Kind.STACK: self._stack,
            Kind.VITALS: lambda position, payload: _vitals(payload),
            Kind.MARK: lambda position, payload: _mark(payload),
            GAP: lambda position, payload: self.gap(),
        }
        self._handlers = {int(kind): handler for kind, handler in handlers.items()}

    @property
    def in_flight(self) -> int:
        """Requests begun and not ended."""
        return len(self.open) + len(self.afloat)

    def feed(self, position: int, kind: int, payload: bytes) -> Joined:
        """Take one frame; what is complete with it, or None."""
        try:
            return self._handlers[kind](position, payload)
        except Exception:  # noqa: BLE001 - also RecursionError and MemoryError: the bytes may be anybody's
            self.garbled += 1
            return None

    def gap(self) -> None:
        """Here frames are missing: nobody knows any more whether what is open has ended."""
        self.gaps += 1
        self.doubtful.update(self.open)

    @property
    def highest(self) -> int:
        """The highest number of a request in a dead worker's journal: it had begun so many, at least."""
        return max((*self.open, *self.afloat, *(self._gone or ())), default=0)

    def find(self, number: int) -> Trail | None:
        """An open request."""
        return self.open.get(number) or self.afloat.get(number)

    # ------------------------------------------------------------ one frame each

    def _beginner(self, kind: int, decode: Callable[[bytes], Begin[Any]]) -> Handler:
        opened, kind = self.open, int(kind)

        def begin(position: int, payload: bytes) -> Joined:
            if position >= self._counted_from:
                self.begun += 1
            try:
                trail = Trail(kind, decode(payload), position)
            except Exception:  # noqa: BLE001 - it was begun, so it must be accounted for
                self.garbled += 1
                return Loss("garbled")
            if opened.setdefault(trail.begin.number, trail) is not trail:
                self.garbled += 1
                return Loss("garbled")
            return None

        return begin

    def _carried(self, position: int, payload: bytes) -> Joined:
        carried = _carried(payload)
        begin = (_begin_bytes if carried.kind == Kind.BEGIN_BYTES else _begin_text)(carried.begin)
        trail = self.open.pop(begin.number, None)
        if trail is None and self._gone is not None and begin.number not in self._gone:
            trail = Trail(carried.kind, begin, position)
            trail.first_byte, trail.status = carried.first_byte, carried.status
            if self.gaps:
                self.doubtful.add(begin.number)
        end = self._moving.pop(begin.number, -1) if self._gone is None else self._gone.get(begin.number, -1)
        if trail is not None:
            trail.pin = position
            self.open[begin.number] = trail
        elif end >= 0:
            self._zones.append((end, position))
        return None

    def _head(self, _position: int, payload: bytes) -> Joined:
        head = _head(payload)
        trail = self._of(head.number)
        if trail is not None:
            trail.first_byte, trail.status = head.first_byte, head.status
        return None

    def _whole_end(self, position: int, payload: bytes) -> Joined:
        return self._finish(position, _end(payload))

    def _minimal_end(self, position: int, payload: bytes) -> Joined:
        number, stop, status, outcome = MINIMAL_END.unpack(payload)
        return self._finish(position, End(number, stop, outcome, status))

    def _finish(self, position: int, end: End) -> Joined:
        number = end.number
        trail = self.open.pop(number, None) or self.afloat.pop(number, None)
        if self._gone is not None:
            self._gone[number] = position
        if self._moving and number in self._moving:
            self._moving[number] = position
        if trail is None:
            self.strangers += 1
            return None
        self.ended += 1
        self.said -= trail.said
        trail.end = end
        trail.position = position
        return trail

    def _span(self, _position: int, payload: bytes) -> Joined:
        span = _span(payload)
        trail = self._of(span.number)
        if trail is None:
            return None
        if trail.spans is None:
            trail.spans = {}
        known = trail.spans.get(span.span_id)
        room = known is not None or len(trail.spans) < MAX_SPANS
        if room and self._keeps(trail, span.span_id, len(payload)):
            trail.spans[span.span_id] = span
        elif known is not None:
            known.stop = span.stop
        else:
            trail.spans_dropped += 1
        return None

    def _note(self, _position: int, payload: bytes) -> Joined:
        note = _note(payload)
        trail = self._of(note.number)
        if trail is None:
            return None
        if trail.notes is None:
            trail.notes = {}
        place = (note.what, note.namespace, note.key)
        room = place in trail.notes or len(trail.notes) < MAX_NOTES
        if room and (_matters(note) or self._keeps(trail, place, len(payload))):
            trail.notes[place] = note
        else:
            trail.notes_dropped += 1
        return None

    def _keeps(self, trail: Trail, what: Hashable, size: int) -> bool:
        """Is there room in memory for what is said, maybe in the place of what was said before?"""
        if trail.sizes is None:
            trail.sizes = {}
        more = size - trail.sizes.get(what, 0)
        if more > 0 and (trail.said + more > MAX_SAID or self.said + more > MAX_SAID_BY_ALL):
            return False
        trail.sizes[what] = size
        trail.said += more
        self.said += more
        return True

    def _stack(self, _position: int, payload: bytes) -> Joined:
        stack = _stack(payload)
        trail = self._of(stack.number)
        if trail is not None:
            trail.stack = stack
        return None

    def _of(self, number: int) -> Trail | None:
        trail = self.find(number)
        if trail is None:
            self.strangers += 1
        return trail

    # ------------------------------------------------------------ what the ring must keep

    def carry(self, trail: Trail) -> list[tuple[int, bytes]]:
        """The frames that move an open request to the front of the ring; it moves when they are read back."""
        self._moving[trail.begin.number] = -1
        return trail.frames()

    def carry_failed(self, trail: Trail) -> None:
        """They found no room: the request stays where it is."""
        self._moving.pop(trail.begin.number, None)

    def moving(self, trail: Trail) -> bool:
        """Has it been carried, and not been read back yet?"""
        return trail.begin.number in self._moving

    def float_off(self, trail: Trail) -> None:
        """Keep an open request in memory alone: the ring may forget it."""
        self.afloat[trail.begin.number] = self.open.pop(trail.begin.number)
        trail.pin = NOWHERE

    def floor(self, position: int) -> int:
        """How far the tail may go towards `position` without costing an open request.

        Between the end of a request and the copy of its begin that crossed it on the way, the tail may not
        rest: whoever adopts the journal would find the copy without the end, and call it killed.
        """
        for trail in self.open.values():
            position = min(position, trail.pin)
            break
        for end in self._moving.values():
            if 0 <= end < position:
                position = end
        for end, copy in reversed(self._zones):
            if end < position <= copy:
                position = end
        self._zones = [zone for zone in self._zones if zone[1] >= position]
        return position

    def __repr__(self) -> str:
        return f"<Joiner {self.in_flight} in flight · {self.ended} ended · {self.garbled} garbled>"


def _matters(note: Note) -> bool:
    """Is it one of the few that decide what becomes of a request, or say what is missing of it?"""
    return note.what not in ("annotation", "metadata") or note.key == NOTES_DROPPED
