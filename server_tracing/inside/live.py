"""The request in hand as the application sees it: `Live`, or `Nobody` where there is none.

Made when the application first asks, and kept by the slot. A `Live` knows its request by number and begin,
so that it can outlast it: a task that goes on after the end still has the trace's ids; what it has to say
comes too late, and is counted.
"""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from server_tracing.identity import child_span_id
from server_tracing.inside.host import COUNTS
from server_tracing.inside.values import label, scalar, tree
from server_tracing.propagation.context import Context
from server_tracing.record import Kind
from server_tracing.unpatched import rlock

if TYPE_CHECKING:
    from server_tracing.inside.host import Host, Slot
    from server_tracing.journal.placement import Heard
    from server_tracing.record import Fault

MAX_SPANS = 1000  # of one request, as the joiner has it; the rest is counted
MAX_NOTES = 1000
MAX_SAID_AT_ONCE = 1000  # of its spans
MAX_METADATA = 32768  # bytes of one value

_SPAN, _NOTE = int(Kind.SPAN), int(Kind.NOTE)
_lock = rlock()  # held where two threads of one request must not both be the first
_pid = os.getpid()  # a call of it costs as much as half of everything else that is asked before a span
encode = msgspec.msgpack.Encoder().encode


class Nobody:
    """Outside of any request: everything can be said, and nothing comes of it."""

    __slots__ = ()

    @property
    def trace_id(self) -> str:
        """32 hex digits; empty outside of a request."""
        return ""

    @property
    def span_id(self) -> str:
        """The request's own span, 16 hex digits; empty outside of a request."""
        return ""

    @property
    def sampled(self) -> bool:
        """Whether this request leaves the machine, as told to the services it calls: decided by asking."""
        return False

    @property
    def user(self) -> str:
        """Who it is done for; settable."""
        return ""

    @user.setter
    def user(self, value: object) -> None:
        pass

    @property
    def name(self) -> str:
        """What to call it, beside its route; settable."""
        return ""

    @name.setter
    def name(self, value: object) -> None:
        pass

    def annotate(self, key: str, value: object) -> None:
        """Say something to search by: a text of up to 1000 characters, a number, a truth value."""

    def metadata(self, key: str, value: object, namespace: str = "default") -> None:
        """Say something to look at: texts, numbers, lists and mappings of them, up to 32 KiB."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<no request>"


class Live(Nobody):
    """One request, in hand. Any thread or task of it may use it, at any time."""

    __slots__ = (
        "_begin", "_heard", "_indexes", "_name", "_notes", "_said", "_sampled", "_spans_let_go", "_user",
        "foreign", "host", "notes_let_go", "number", "views",
    )  # fmt: skip

    def __init__(self, host: Host, number: int, begin: bytes) -> None:
        self.host = host
        self.number = number
        self._begin = begin
        self._heard: Heard | None = None
        self._sampled: bool | None = None
        self._indexes = count(1)
        self._notes = count(1)
        self._said = count(1)
        self._spans_let_go = 0
        self.notes_let_go = 0
        self.foreign: list[int] = []  # ids of the spans that another library has begun in it
        self.views: dict[str, Any] = {}  # what other libraries take for this request, by library
        self._user = self._name = ""

    # ------------------------------------------------------------ who it is

    @property
    def heard(self) -> Heard:
        """Where it belongs."""
        if self._heard is None:
            self._heard = self.host.heard(self._begin)
        return self._heard

    @property
    def trace_id(self) -> str:
        return f"{self.heard.trace_id:032x}"

    @property
    def span_id(self) -> str:
        return f"{self.heard.span_id:016x}"

    @property
    def live(self) -> Live:
        """A place to be, as slots and spans are, for whoever is carried into the request from elsewhere."""
        return self

    @property
    def in_this_process(self) -> bool:
        """Whether it is served here: a fork of a worker has one in its context that it does not serve."""
        return self.host.origin.pid == _pid

    @property
    def ended(self) -> bool:
        """Whether its record is complete."""
        return self.number not in self.host.open

    @property
    def sampled(self) -> bool:
        if self._sampled is None:
            if os.getpid() != self.host.origin.pid:  # a forked child: locks may be held by threads it lacks
                return bool(self.heard.context.sampled)
            with _lock:
                if self._sampled is None:
                    told = self.host.decide(self.heard)
                    self._sampled = told.sampled
                    self.write(_NOTE, (self.number, "sampled", "", told, ""))
        return self._sampled

    def decide(self, sampled: bool) -> None:
        """The application itself decides, whatever was decided before."""
        self._sampled = sampled
        self.write(_NOTE, (self.number, "sampled", "", (sampled, None), ""))

    def outgoing(self, span_id: int) -> Context:
        """What a service is told that is called from the span of this id (0: from the request itself)."""
        heard, told = self.heard, self.heard.context
        return Context(
            trace_id=heard.trace_id,
            parent_id=span_id or heard.span_id,
            sampled=self.sampled,
            sampled_asked=told.sampled_asked,
            random=told.random or told.trace_id is None,  # ours are
            tracestate=told.tracestate,
            xray_extra=told.xray_extra,
        )

    # ------------------------------------------------------------ what is said of it

    @property
    def user(self) -> str:
        return self._user

    @user.setter
    def user(self, value: object) -> None:
        self._user = label(value)
        self.note("user", "", self._user)

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, value: object) -> None:
        self._name = label(value)
        self.note("name", "", self._name)

    def annotate(self, key: str, value: object) -> None:
        self.note("annotation", label(key), scalar(value))

    def metadata(self, key: str, value: object, namespace: str = "default") -> None:
        self.note("metadata", label(key), bounded(tree(value)), label(namespace))

    def raised(self, fault: Fault) -> None:
        """An exception that the application tells of. The server's own view of one goes before it."""
        self.note("exception", "", fault)

    def note(self, what: str, key: str, value: object, namespace: str = "") -> None:
        """Write it down."""
        if self.may_note():
            self.write(_NOTE, (self.number, what, key, value, namespace))
        else:
            COUNTS.beyond += 1
            self.notes_let_go += 1

    def may_note(self) -> bool:
        """Whether it has not said too much already."""
        return next(self._notes) <= MAX_NOTES

    def may_say_at_once(self) -> bool:
        """Whether what is said of a span is written when it is said, and not only with the span's end."""
        return next(self._said) <= MAX_SAID_AT_ONCE

    def write(self, kind: int, frame: tuple[object, ...]) -> bool:
        """A frame of this request into the journal, if it has not ended."""
        if self.number in self.host.open:
            return self._put(kind, frame)
        COUNTS.late += 1
        return False

    def _put(self, kind: int, frame: tuple[object, ...]) -> bool:
        try:
            written = self.host.append(kind, encode(frame))
        except Exception:  # noqa: BLE001 - what msgpack does not know; values.py lets nothing such pass
            written = False
        if not written:
            COUNTS.unwritten += 1
        return written

    # ------------------------------------------------------------ its spans

    def new_span_id(self) -> int:
        """The id of one more span; 0 when it has had all it may have."""
        index = next(self._indexes)
        if index <= MAX_SPANS:
            return child_span_id(self.host.origin, self.number, index)
        COUNTS.beyond += 1
        self._spans_let_go = let_go = index - MAX_SPANS
        if let_go & (let_go - 1) == 0:  # 1, 2, 4, ...: a killed request shall have about the right number
            self.write(_NOTE, (self.number, "spans_dropped", "", let_go, ""))
        return 0

    def close(self) -> None:
        """Say what was let go, just before the end is written."""
        self.views = {}  # they know this object: no cycles are left behind
        if self._spans_let_go:
            self._put(_NOTE, (self.number, "spans_dropped", "", self._spans_let_go, ""))
        if self.notes_let_go:
            said = (self.number, "metadata", "notes_dropped", self.notes_let_go, "server_tracing")
            self._put(_NOTE, said)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<request {self.number} · trace {self.trace_id} · {'ended' if self.ended else 'in hand'}>"


def _in_child() -> None:
    global _lock, _pid
    _pid = os.getpid()
    _lock = rlock()  # the inherited one may be held by a thread that does not exist here


os.register_at_fork(after_in_child=_in_child)


def opened(slot: Slot, host: Host) -> Live:
    """The view of a request, made once."""
    with _lock:
        if slot.live is None:
            slot.live = Live(host, slot.number, slot.begin)
        live: Live = slot.live
        return live


def bounded(value: object) -> object:
    """Metadata that is not too large."""
    size = len(encode(value))
    return value if size <= MAX_METADATA else f"(too large: {size} bytes)"
