"""Spans: how every piece of a request's work gets into its record, whoever tells it.

`begin_span` and `end_span` are the mechanism, for this package's own API (span_api.py) and for the bridges to
other libraries' spans; they leave the context alone. `activate` and `deactivate` make a span the one that the
next is begun in.

A span is written twice, when it begins and when it ends, under one id: the reader keeps the later frame. The
first costs 1.2 us and 60 bytes, and tells of a worker that died in the span which span that was; written by
the watching thread for long spans only, it would tell so of none that crashed within 100 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from server_tracing.inside.here import here, live_of, place_here, step_in, step_out
from server_tracing.inside.host import COUNTS
from server_tracing.inside.live import Live, bounded
from server_tracing.inside.values import Scalar, label, scalar, tree
from server_tracing.record import Kind

if TYPE_CHECKING:
    from server_tracing.inside.host import Slot
    from server_tracing.record import Fault

MAX_SAID = 50  # annotations of a span, and as many metadata
CLIENT, CALL = "client", "call"
_SPAN = int(Kind.SPAN)


class Span(Struct, eq=False):
    """A piece of the work of a request; of none (`live` is None), it does nothing. A Struct, because that is
    made in half the time of a class with slots."""

    name: str
    kind: str = "internal"
    live: Live | None = None
    span_id: int = 0  # that of the parent, where it is one too many to be written
    parent_id: int = 0  # 0: the request itself
    start: int = 0
    stop: int = -1  # -1: not begun; 0: runs
    called: bool = False  # it has named itself to a service
    outer: Any = None  # where the code was when it became active: in a slot or in a span
    annotations: dict[str, Scalar] | None = None
    details: dict[str, object] | None = None

    def annotate(self, key: str, value: object) -> None:
        """Say something to search by, as of a request."""
        if self.live is not None:
            self.annotations = kept = self.annotations or {}
            self._say(kept, label(key), scalar(value))

    def metadata(self, key: str, value: object) -> None:
        """Say something to look at, as of a request."""
        if self.live is not None:
            self.details = kept = self.details or {}
            self._say(kept, label(key), bounded(tree(value)))

    def metadata_within(self, group: str, namespace: str, key: object, value: object) -> None:
        """The same for libraries that have namespaces: all of a namespace's are one."""
        if self.live is not None:
            self.details = kept = self.details or {}
            named = kept.setdefault(group, {})
            spaces = named.setdefault(label(namespace), {}) if isinstance(named, dict) else {}
            self._say(spaces, label(key), bounded(tree(value)))

    def detail(self, key: str, value: object) -> None:
        """Metadata of a library's own, few and bounded, to be written with the span's end."""
        self.details = kept = self.details or {}
        kept[key] = value

    def _say(self, kept: dict[str, object] | dict[str, Scalar], key: str, value: object) -> None:
        if len(kept) >= MAX_SAID and key not in kept:
            COUNTS.beyond += 1
        elif self.stop > 0:
            COUNTS.late += 1
        else:
            kept[key] = value  # type: ignore[assignment]
            if self.live is not None and self.live.may_say_at_once():
                self.write()

    def rename(self, name: str) -> None:
        """Call it something else."""
        self.name = label(name)

    def say(self, annotations: Mapping[str, object]) -> None:
        """Annotate with all of these, to be written with its end."""
        if self.live is not None:
            room = MAX_SAID - len(self.annotations or ())
            some = {label(key): scalar(value) for key, value in islice(annotations.items(), room)}
            self.annotations = {**(self.annotations or {}), **some}
            COUNTS.beyond += max(0, len(annotations) - room)

    def write(self, fault: Fault | None = None) -> None:
        """The span as it is now."""
        live = self.live
        if live is None or self.span_id == self.parent_id:
            return  # of no request, or one too many
        known = (live.number, self.span_id, self.parent_id, self.name, self.kind, self.start, self.stop)
        if fault is not None or self.annotations or self.details:
            told = (self.annotations or {}, self.details or {}, fault)
            if live.write(_SPAN, (*known, *told)):
                return
        live.write(_SPAN, known)

    def __repr__(self) -> str:
        state = "not begun" if self.stop < 0 else "running" if not self.stop else "ended"
        return f"<span {self.name!r} · {self.kind} · {state if self.live else 'of no request'}>"


def begin_span(
    name: str,
    kind: str = "internal",
    *,
    parent: Span | None = None,
    parent_id: int = -1,
    span_id: int = 0,
    start: int = 0,
) -> Span:
    """A span within `parent`, or else where this is called. Libraries that know better give the ids of parent
    (0: the request itself) and span, and `start`, a stamp of the monotonic clock, if it is past."""
    span = Span(name, kind)
    at = parent if parent is not None else place_here()
    live = live_of(at) if at is not None else None
    if at is not None and live is not None:
        _enter(span, at, live, parent_id, span_id, start)
        _write_begin(span, live)
    return span


def begin(span: Span) -> None:
    """Begin a span that was made before, where this is called."""
    at = place_here()
    live = live_of(at) if at is not None else None
    if at is not None and live is not None:
        _enter(span, at, live)
        _write_begin(span, live)


def _enter(
    span: Span, at: Slot | Span, live: Live, parent_id: int = -1, span_id: int = 0, start: int = 0
) -> None:
    span.name, span.kind = label(span.name), label(span.kind)
    span.live = live
    span.parent_id = parent_id if parent_id >= 0 else at.span_id if isinstance(at, Span) else 0
    allowed = live.new_span_id()
    span.span_id = (span_id or allowed) if allowed else span.parent_id
    span.start = start or live.host.clock()
    span.stop = 0


def _write_begin(span: Span, live: Live) -> None:
    if span.span_id != span.parent_id:
        known = (live.number, span.span_id, span.parent_id, span.name, span.kind, span.start, 0)
        live.write(_SPAN, known)


def calling(at: Slot | Span, live: Live) -> int:
    """The id of the span that a service is called from: another one for every call, as W3C has it (Trace
    Context 2, section 3.2.2.4). A client span gives its own, once; else the call is a moment by itself."""
    if isinstance(at, Span) and at.kind == CLIENT and not at.called:
        at.called = True
        return at.span_id
    moment = Span(CALL, CLIENT)
    _enter(moment, at, live)
    moment.stop = moment.start
    moment.write()
    return moment.span_id


def end_span(
    span: Span, error: BaseException | None = None, stop: int = 0, fault: Fault | None = None
) -> None:
    """It is over, by `error` (or `fault`, where that is all there is); said twice, the first word counts."""
    live = span.live
    if live is None:
        return
    if span.stop > 0:
        COUNTS.twice += 1
        return
    span.stop = stop or live.host.clock()
    span.write(live.host.fault_from(error) if error is not None else fault)


def activate(span: Span) -> None:
    """Spans begun here from now on are within this one."""
    if span.live is not None:
        span.outer = here.get()
        here.set(span)
        step_in(span)


def deactivate(span: Span) -> None:
    """As it was before; where another request is in hand by now, or none, nothing is changed."""
    at = here.get()
    if at is not None and span.live is not None and at.live is span.live:
        here.set(span.outer)
        step_out(span)
