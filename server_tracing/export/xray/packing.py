"""A segment and its subsegments as documents of which none is too large, in bytes or in subsegments.

Children are put into their parents as long as there is room; what finds none is sent by itself, with all that
found room in it. So the service has everything, whatever the size: the SDK counts subsegments only, and a
document beyond 64 kB is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Raw

from .documents import Document, Segment, Subsegment
from .limits import DOCUMENT
from .transport import Sheet
from .trimming import fitted

DEEPEST = 50  # subsegments within each other in one document
BY_ITSELF = 150  # bytes for `subsegments`, and for what a subsegment says when it is sent by itself


class Piece(NamedTuple):
    """A subsegment with all that is in it."""

    made: Subsegment
    data: bytes
    size: int  # itself and those in it
    depth: int


class Packing:
    """One segment on its way into documents."""

    def __init__(self, segment: Segment, threshold: int, limit: int = DOCUMENT) -> None:
        self._segment = segment
        self._threshold = threshold
        self._limit = limit
        self._sheets: list[Sheet] = []

    def sheets(self, subsegments: Sequence[Subsegment]) -> list[Sheet]:
        """The segment's document, and those of the subsegments that are sent by themselves."""
        within: dict[str, list[Piece]] = {}
        for made in reversed(list(parents_first(subsegments, self._segment.id))):
            parent, made.parent_id = made.parent_id or self._segment.id, None
            within.setdefault(parent, []).append(self._piece(made, within.pop(made.id, [])))
        data, _ = self._filled(self._segment, within.pop(self._segment.id, []))
        return [Sheet(self._segment.id, data), *self._sheets]

    def _piece(self, made: Subsegment, children: list[Piece]) -> Piece:
        data, inside = self._filled(made, children)
        if not inside:
            return Piece(made, data, 1, 1)
        size = 1 + sum(piece.size for piece in inside)
        return Piece(made, data, size, 1 + max(piece.depth for piece in inside))

    def _filled(self, document: Document, children: list[Piece]) -> tuple[bytes, list[Piece]]:
        """A document with those of its children that find room in it; the others go their own way."""
        data = fitted(document, self._limit - BY_ITSELF)
        if not children:
            return data, []
        room, left, inside = self._limit - BY_ITSELF - len(data), self._threshold, []
        for piece in reversed(children):  # they came in the reverse of their order
            room_after, left_after = room - len(piece.data) - 1, left - piece.size
            if room_after >= 0 and left_after >= 0 and piece.depth < DEEPEST:
                room, left = room_after, left_after
                inside.append(piece)
            else:
                self._send(piece, document.id)
        document.subsegments = [Raw(piece.data) for piece in inside]
        return fitted(document, self._limit), inside

    def _send(self, piece: Piece, parent: str) -> None:
        made = piece.made
        made.type, made.trace_id, made.parent_id = "subsegment", self._segment.trace_id, parent
        self._sheets.append(Sheet(made.id, fitted(made, self._limit)))


def parents_first(subsegments: Sequence[Subsegment], root: str) -> Iterator[Subsegment]:
    """Each after the one it is in, in the order they came; one whose parent is not here is in the root."""
    known = {made.id for made in subsegments}
    below: dict[str, list[Subsegment]] = {}
    for made in subsegments:
        parent = made.parent_id if made.parent_id in known and made.parent_id != made.id else root
        made.parent_id = parent
        below.setdefault(parent, []).append(made)
    yield from _walk(below, root)
    for made in [made for circle in below.values() for made in circle]:  # which only a forger would draw
        made.parent_id = root
        yield made


def _walk(below: dict[str, list[Subsegment]], root: str) -> Iterator[Subsegment]:
    waiting = below.pop(root, [])[::-1]
    while waiting:
        made = waiting.pop()
        yield made
        waiting += below.pop(made.id, [])[::-1]
