"""Where the code is, in the X-Ray SDK's words: its context and its sampler while a request is in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_xray_sdk import global_sdk_config
from aws_xray_sdk.core.context import Context

from server_tracing.inside.carrying import carry_to, leave
from server_tracing.inside.here import here, live_of, place_here
from server_tracing.inside.spans import Span, activate, begin, deactivate
from server_tracing.inside.values import label
from server_tracing.inside.xray_entities import (
    EntitySpan,
    Joined,
    OtherSpan,
    RequestSegment,
    RequestSubsegment,
)

if TYPE_CHECKING:
    from server_tracing.inside.live import Live

VIEW = "xray"


def live_in_hand() -> Live | None:
    """The request to work on; None where the SDK is to do as it always does."""
    place = place_here()
    live = live_of(place) if place is not None and global_sdk_config.sdk_enabled() else None
    return live if live is not None and live.in_this_process else None


def segment_of(live: Live) -> RequestSegment:
    """The request as a segment, made when it is first asked for."""
    segment: RequestSegment | None = live.views.get(VIEW)
    if segment is None:
        name = live.host.origin.service or "request"
        segment = live.views.setdefault(VIEW, RequestSegment(live, name))
    return segment


def current(live: Live) -> Any:
    """What the SDK would call current: a subsegment, a span of somebody else's as one, or the request."""
    place = place_here()
    if isinstance(place, EntitySpan) and place.entity is not None:
        return place.entity
    if isinstance(place, Span) and not place.stop:
        return OtherSpan(place, segment_of(live))
    return segment_of(live)


def open_entity(kind: type = object) -> EntitySpan | None:
    """The innermost span that tells an entity of this kind, begun here and not ended."""
    place = here.get()
    while isinstance(place, Span):
        if isinstance(place, EntitySpan) and place.entity is not None and isinstance(place.entity, kind):
            return place
        place = place.outer
    return None


def begun(name: object, namespace: str, live: Live, kind: type[RequestSubsegment]) -> RequestSubsegment:
    """A subsegment that is current from now on."""
    span = EntitySpan(label(name), "client" if namespace != "local" else "internal")
    begin(span)
    span.entity = entity = kind(span.name, namespace, segment_of(live), span)
    activate(span)
    return entity


def end(span: EntitySpan | None, end_time: float | None) -> None:
    """It is over, and with it, as far as what is current goes, whatever was begun in it."""
    if span is not None:
        entity, span.entity = span.entity, None
        deactivate(span)
        if entity.in_progress:  # else the application has closed it
            entity.close(end_time)


class RequestContext(Context):  # type: ignore[misc]
    """The SDK's context while a request is in hand; `outside` is the one that counts elsewhere. In our own
    threads, which may use instrumented libraries too, nothing is current, and nothing is said about that."""

    def __init__(self, outside: Any) -> None:
        self._outside = outside

    def get_trace_entity(self) -> Any:
        live = live_in_hand()
        return None if live is None else current(live)

    def set_trace_entity(self, trace_entity: Any) -> None:
        """A segment that is none of ours takes this code out of the request."""
        here.set(None)
        self._outside.set_trace_entity(trace_entity)

    def put_segment(self, segment: Any) -> None:
        self.set_trace_entity(segment)

    def clear_trace_entities(self) -> None:
        leave()

    def put_subsegment(self, subsegment: Any) -> None:
        """One that is not to be recorded: the recorder's own way to begin others is not taken."""
        place, live = place_here(), live_in_hand()
        if live is not None:
            within = place.span_id if isinstance(place, Span) else 0
            span = EntitySpan(label(subsegment.name), live=live, span_id=within, parent_id=within, stop=0)
            span.entity = subsegment
            subsegment.id = subsegment.parent_id = f"{within or live.heard.span_id:016x}"
            activate(span)

    def end_subsegment(self, end_time: float | None = None) -> bool:
        """Always False: nothing is left for the recorder to send."""
        end(open_entity(), end_time)
        return False

    def end_segment(self, end_time: float | None = None) -> None:
        """A request ends when the server has answered."""

    @property
    def _local(self) -> Any:
        """Looked at by the SDK's extension for SQLAlchemy's ORM."""
        return Entities([self.get_trace_entity()])

    @property
    def context_missing(self) -> Any:
        return self._outside.context_missing

    @context_missing.setter
    def context_missing(self, value: Any) -> None:
        self._outside.context_missing = value


class Entities:
    """What the SDK's contexts keep."""

    def __init__(self, entities: list[Any]) -> None:
        self.entities = entities


def carried_to(entity: Any) -> bool:
    """Be where this entity is, most likely in another thread; False if it is of no request of ours."""
    if not isinstance(entity, Joined):
        return False
    carry_to(getattr(entity, "span", entity.live))
    return True


class RequestSampler:
    """Says what has been decided of the request."""

    def __init__(self, outside: Any) -> None:
        self._outside = outside

    def should_trace(self, sampling_req: object = None) -> Any:
        live = live_in_hand()
        return self._outside.should_trace(sampling_req) if live is None else live.sampled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outside, name)
