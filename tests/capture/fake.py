"""A recorder that writes into lists."""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

from server_tracing.capture.recorder import Slot
from server_tracing.record import Outcome


class Begun(NamedTuple):
    method: str
    target: Any
    version: str
    scheme: str
    client: str
    port: int
    headers: list[tuple[Any, Any]]


class Ended(NamedTuple):
    begun: Begun
    outcome: Outcome
    status: int
    sent: int
    received: int
    details: dict[str, Any]
    slot: Slot


class FakeRecorder:
    """`Recorder` without a journal; its clock ticks once for every look at it."""

    def __init__(self, full: bool = False) -> None:
        self.full = full
        self.open: dict[int, tuple[Slot, Begun]] = {}
        self.applications: list[Any] = []
        self.announce: Any = None
        self.loops: set[Any] = set()
        self.ended: list[Ended] = []
        self.ends = 0  # how often `end` was called, the second word of a request included
        self.marks: list[str] = []
        self.clock = count(1).__next__

    def begin_text(self, *values: Any) -> Slot | None:
        *known, headers = values
        if self.full:
            return None
        slot = Slot(len(self.open) + len(self.ended) + 1, self.clock(), 0)
        self.open[slot.number] = slot, Begun(*known, list(headers))
        return slot

    begin_bytes = begin_text

    def end(
        self,
        slot: Slot | None,
        outcome: int,
        status: int = 0,
        sent: int = -1,
        received: int = -1,
        route: str = "",
        **details: Any,
    ) -> None:
        self.ends += 1
        if route:
            details["route"] = route
        if slot is not None and slot.number in self.open:
            begun = self.open.pop(slot.number)[1]
            self.ended.append(Ended(begun, Outcome(outcome), status, sent, received, details, slot))

    def rejected(self, *values: Any) -> None:
        self.end_refusal(self.begin_refusal(*values[:7]), *values[7:])

    def begin_refusal(self, *known: Any) -> Slot | None:
        return self.begin_text(*known)

    def end_refusal(self, begun: Slot | None, status: int, reason: str, *sent: int) -> None:
        self.end(begun, Outcome.REJECTED, status, *sent, reason=reason)

    def mark(self, what: str, detail: str = "", fault: object = None) -> None:
        self.marks.append(what)

    def only(self) -> Ended:
        """The one request that has ended, while none is open."""
        assert not self.open
        (ended,) = self.ended
        return ended
