"""A request and its spans as OpenCensus' spans.

The spans are OpenCensus' own class: integrations and applications set its attributes, kind and status. What
is said by `add_attribute` is in the journal when it returns; the rest when the span ends.
"""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

from google.rpc.code_pb2 import Code
from opencensus.trace import span as span_module
from opencensus.trace import trace_options
from opencensus.trace.propagation.tracestate_string_format import TracestateStringFormatter
from opencensus.trace.span_context import SpanContext
from opencensus.trace.tracers.base import NullContextManager

from server_tracing.inside.callers import calling_module
from server_tracing.inside.here import here, live_of, place_here
from server_tracing.inside.live import bounded
from server_tracing.inside.spans import Span, begin, end_span
from server_tracing.inside.values import label, tree
from server_tracing.record import Fault

if TYPE_CHECKING:
    from server_tracing.inside.live import Live

VIEW = "opencensus"
CAN_GO = "%s begins a span for each request. It can go: what the server records of it is the request."
# What middleware says of every request, and the server knows.
KNOWN = frozenset(
    [
        "http.host",
        "http.method",
        "http.path",
        "http.route",
        "http.url",
        "http.status_code",
        "error.name",
        "error.message",
        "stacktrace",
    ]
)
SERVER = span_module.SpanKind.SERVER
KINDS = {SERVER: "server", span_module.SpanKind.CLIENT: "client"}

log = logging.getLogger("server_tracing")

_told_that_it_can_go = False


class TheirSpan(Span, eq=False):
    """A span of ours that one of OpenCensus' tells."""

    theirs: Any = None  # None once it has ended


class Attributes(span_module.BoundedDict):  # type: ignore[misc]
    """A span's attributes, each in the journal as soon as it is set, by whatever way."""

    def __init__(self, span: JoinedSpan) -> None:
        super().__init__(span_module.MAX_NUM_ATTRIBUTES)
        self.ours = span.ours
        self.span = weakref.ref(span)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.ours.annotate(key, value)
        span = self.span()
        if span is not None and span.in_place_of_the_request and self.ours.live is not None:
            annotate_request(self.ours.live, key, value)


class JoinedSpan(span_module.Span):  # type: ignore[misc]
    """A span within a request."""

    def __init__(self, name: object, parent: Any, ours: Span, tracer: Any = None) -> None:
        self.ours = ours
        self.raised: BaseException | None = None
        self._kind = span_module.SpanKind.UNSPECIFIED
        super().__init__(name, parent, span_id=f"{ours.span_id:016x}", context_tracer=tracer)
        self.attributes = Attributes(self)

    @property
    def span_kind(self) -> int:
        """Server, client or neither. One of kind server in place of the request's is begun by middleware of
        the application's own: what is said of it is said of the request."""
        return int(self._kind)

    @span_kind.setter
    def span_kind(self, value: int) -> None:
        self._kind = value
        if self.in_place_of_the_request and self.ours.live is not None:
            say_once_that_it_can_go()
            for key, attribute in list(self.attributes.items()):
                annotate_request(self.ours.live, key, attribute)

    @property
    def in_place_of_the_request(self) -> bool:
        """Whether it is what middleware begins."""
        return self._kind == SERVER and not self.ours.parent_id

    def span(self, name: str = "child_span") -> JoinedSpan:
        """A child that ends by itself, as OpenCensus has it: what is begun while it runs is not within it."""
        child = TheirSpan(label(name))
        here_before = here.get()
        here.set(self.ours)
        try:
            begin(child)
        finally:
            here.set(here_before)
        made = JoinedSpan(name, self, child)
        self._child_spans.append(made)
        return made

    def start(self) -> None:
        """Said when it is made, and again by `with`: the first word counts."""
        if self.start_time is None:
            super().start()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self.raised = error
        super().__exit__(kind, error, traceback)

    def finish(self) -> None:
        if self.ours.stop <= 0:
            super().finish()
            try:
                write(self)
            except Exception:  # noqa: BLE001 - a status, a link or an event that is none
                end_span(self.ours, error=self.raised)
            self.raised = None  # its frames know this span


class RequestSpan(span_module.Span):  # type: ignore[misc]
    """The request itself. What the server knows better is not listened to."""

    def __init__(self, live: Live) -> None:
        self.live = live
        parent = live.heard.context.parent_id
        above = NullContextManager(span_id=f"{parent:016x}" if parent else None)
        super().__init__("request", above, span_id=live.span_id, span_kind=SERVER)
        self.start()

    def add_attribute(self, attribute_key: Any, attribute_value: Any) -> None:
        super().add_attribute(attribute_key, attribute_value)
        annotate_request(self.live, attribute_key, attribute_value)

    def span(self, name: str = "child_span") -> JoinedSpan:
        child = TheirSpan(label(name))
        begin(child)
        return JoinedSpan(name, self, child)


class OtherSpan(JoinedSpan):
    """A span that was begun by other means, as one that can be spoken to."""

    def finish(self) -> None:
        """It ends where it was begun."""


def annotate_request(live: Live, key: object, value: object) -> None:
    """Something that is said of the request and that the server does not know."""
    if key not in KNOWN:
        live.annotate(key, value)  # type: ignore[arg-type]


def request_span(live: Live) -> RequestSpan:
    """The request as a span, made when it is first asked for."""
    span: RequestSpan | None = live.views.get(VIEW)
    if span is None:
        span = live.views.setdefault(VIEW, RequestSpan(live))
    return span


def current_span(live: Live) -> Any:
    """What OpenCensus would call current."""
    place = place_here()
    if isinstance(place, TheirSpan) and place.theirs is not None:
        return place.theirs
    if isinstance(place, Span) and not place.stop:
        return OtherSpan(place.name, request_span(live), place)
    return request_span(live)


def open_span() -> TheirSpan | None:
    """The innermost span that OpenCensus began here and has not ended."""
    place = here.get()
    while isinstance(place, Span):
        if isinstance(place, TheirSpan) and place.theirs is not None:
            return place
        place = place.outer
    return None


def live_in_hand() -> Live | None:
    """The request to work on; None where OpenCensus is to do as it always does."""
    place = place_here()
    live = live_of(place) if place is not None else None
    return live if live is not None and live.in_this_process else None


def span_context(live: Live) -> SpanContext:
    """Where the code is, for what is sent on."""
    return SpanContext(
        trace_id=live.trace_id,
        span_id=current_span(live).span_id,
        trace_options=trace_options.TraceOptions("1" if live.sampled else "0"),
        tracestate=tracestate(live.heard.context.tracestate),
    )


def tracestate(header: str | None) -> Any:
    """As OpenCensus has it; what its grammar does not know is not sent on."""
    try:
        return TracestateStringFormatter().from_string(header) if header else None
    except ValueError:
        return None


def say_once_that_it_can_go() -> None:
    """Whoever begins a span for each request does not need to any more."""
    global _told_that_it_can_go
    if not _told_that_it_can_go:
        _told_that_it_can_go = True
        log.warning(CAN_GO, calling_module("opencensus.trace", __name__.rpartition(".")[0]))


# ------------------------------------------------------------ what is written


def write(span: JoinedSpan) -> None:
    """Write a span that has ended, as OpenCensus' attributes have it by now."""
    ours = span.ours
    ours.rename(span.name)
    ours.kind = "internal" if span.in_place_of_the_request else KINDS.get(span.span_kind, "internal")
    for key, value in details(span):
        ours.detail(key, bounded(tree(value)))
    end_span(ours, error=span.raised, fault=fault_of(span))


def details(span: JoinedSpan) -> Any:
    """What can be looked at: links, and what happened in the meantime."""
    if len(span.links):
        yield "links", [{"trace_id": link.trace_id, "span_id": link.span_id} for link in span.links]
    if len(span.annotations):
        yield (
            "events",
            [
                {
                    "time": str(said.timestamp),
                    "message": said.description,
                    **(said.attributes.attributes or {}),
                }
                for said in span.annotations
            ],
        )


def fault_of(span: JoinedSpan) -> Fault | None:
    """The status, where it says that something failed and no HTTP status says which way."""
    status = span.status
    if not status.canonical_code or "http.status_code" in span.attributes:
        return None
    try:
        name = Code.Name(status.canonical_code)
    except ValueError:
        name = f"status {status.canonical_code}"
    return Fault(name, str(status.description or ""))
