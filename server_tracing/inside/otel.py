"""OpenTelemetry's spans within ours, ours within OpenTelemetry's: one trace, nothing to configure.

Where the application has set a provider of the SDK, OpenTelemetry's context is kept in step with ours: its
spans have the request, or the span of ours they are begun in, for their parent, so that its exporters and
propagators use our trace id and our decision; and a span processor writes each of them into the request's
record. Where only some library imports OpenTelemetry's API, nothing is followed and nothing costs anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags, TraceState

from server_tracing.inside import here
from server_tracing.inside.spans import Span, begin_span, end_span
from server_tracing.record import Fault

if TYPE_CHECKING:
    from server_tracing.inside.host import Slot
    from server_tracing.inside.live import Live

SAMPLED, NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)


class View(NonRecordingSpan):
    """A request or a span of ours as OpenTelemetry sees it; who it is, is found out when somebody asks."""

    def __init__(self, place: Slot | Span) -> None:
        self.place = place
        self.outer: context.Context | None = None
        self._told: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        if self._told is None:
            live = here.live_of(self.place)
            self._told = told(live, self.place) if live is not None else trace.INVALID_SPAN_CONTEXT
        return self._told

    def is_recording(self) -> bool:
        return True

    def set_attribute(self, key: str, value: Any) -> None:
        said_of = self.place if isinstance(self.place, Span) else here.live_of(self.place)
        if said_of is not None:
            said_of.annotate(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            self.set_attribute(key, value)


def told(live: Live, place: Slot | Span) -> SpanContext:
    """A place of ours in OpenTelemetry's terms."""
    heard = live.heard
    return SpanContext(
        trace_id=heard.trace_id,
        span_id=(place.span_id if isinstance(place, Span) else 0) or heard.span_id,
        is_remote=False,
        trace_flags=SAMPLED if live.sampled else NOT_SAMPLED,
        trace_state=TraceState.from_header([heard.context.tracestate] if heard.context.tracestate else []),
    )


class Bridge(SpanProcessor):
    """The companion of our context, and a processor in OpenTelemetry's pipeline."""

    def __init__(self) -> None:
        self._open: dict[int, Span] = {}  # by OpenTelemetry's id; what a request leaves here goes with it

    # ------------------------------------------------------------ keeping step

    def entered(self, place: Slot | Span) -> None:
        view = View(place)
        view.outer = context.get_current()
        context.attach(trace.set_span_in_context(view))

    def left(self, place: Slot | Span) -> None:
        at = trace.get_current_span()
        if isinstance(at, View) and at.place is place and at.outer is not None:
            context.attach(at.outer)
        elif not isinstance(place, Span):  # the request is over, whatever it has left active
            context.attach(context.Context())
        live = place.live
        if live is not None and not isinstance(place, Span):
            for span_id in live.foreign:
                self._open.pop(span_id, None)

    def inner(self, place: Slot | Span) -> Slot | Span:
        at = trace.get_current_span()
        if isinstance(at, View):
            return place
        found = self._open.get(at.get_span_context().span_id)
        return found if found is not None and found.live is place.live else place

    # ------------------------------------------------------------ its spans

    def on_start(self, span: Any, parent_context: context.Context | None = None) -> None:
        live, ids = here.live_here(), span.get_span_context()
        if live is None or ids.trace_id != live.heard.trace_id:
            return  # of no request, or of a trace that somebody began on purpose
        parent = 0 if span.parent is None else span.parent.span_id
        ours = begin_span(
            span.name,
            span.kind.name.lower(),
            parent_id=0 if parent == live.heard.span_id else parent,
            span_id=ids.span_id,
        )
        if ours.span_id == ids.span_id:  # else it was one too many
            self._open[ids.span_id] = ours
            live.foreign.append(ids.span_id)

    def on_end(self, span: ReadableSpan) -> None:
        ids = span.get_span_context()
        ours = self._open.pop(ids.span_id, None) if ids is not None else None
        if ours is None:
            return
        ours.rename(span.name)
        ours.say(span.attributes or {})
        end_span(ours, fault=fault_of(span))

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def fault_of(span: ReadableSpan) -> Fault | None:
    """The exception that a span tells of as an event, or its status."""
    for event in reversed(span.events):
        if event.name == "exception":
            said = event.attributes or {}
            return Fault(str(said.get("exception.type", "")), str(said.get("exception.message", "")))
    if span.status.status_code is StatusCode.ERROR:
        return Fault("error", span.status.description or "")
    return None


def follow(provider: object) -> None:
    """Keep in step with the application's provider, once."""
    if isinstance(provider, TracerProvider) and not isinstance(here.companion, Bridge):
        bridge = Bridge()
        provider.add_span_processor(bridge)
        here.accompany(bridge)
