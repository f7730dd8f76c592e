"""The X-Ray SDK within our requests: its recorder works on the request in hand, on every server.

Hooked are two attributes of the recorder's class and seven of its methods, and each asks first whether a
request of ours is in hand; where none is, or the SDK is disabled, everything is the SDK's own, so that
segments begun by hand in scripts and background threads go the way they always went.

- `_context`, where the SDK looks up what is current: a view of `here`, as all other spans are. (The SDK's
  contexts are a thread's or a task's: the first mixes up interleaved tasks, the second breaks
  `create_task(context=...)`.)
- `_sampler`: middleware is told the request's decision. The SDK's own sampler would start its threads, count
  the request a second time, and may raise while rules are refreshed.
- `begin_segment` and `end_segment`: the first segment that is begun in a request is the request, so that
  middleware does no harm; one begun later is a subsegment.
- `begin_subsegment`, `end_subsegment`, `put_annotation`, `put_metadata`: as the SDK has them, but also of
  requests that are not sampled, for they may fail.
- `set_trace_entity`: how the SDK has an application carry its entities to another thread.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aws_xray_sdk import global_sdk_config
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.context import Context
from aws_xray_sdk.core.emitters.udp_emitter import UDPEmitter
from aws_xray_sdk.core.lambda_launcher import LambdaContext
from aws_xray_sdk.core.models.dummy_entities import DummySubsegment
from aws_xray_sdk.core.recorder import AWSXRayRecorder

from server_tracing import by_hand
from server_tracing.config import Config, XRay
from server_tracing.inside.arrivals import when_imported
from server_tracing.inside.callers import calling_module
from server_tracing.inside.carrying import carry_to, leave
from server_tracing.inside.here import here, live_of, place_here
from server_tracing.inside.spans import Span, activate, begin, deactivate
from server_tracing.inside.values import label
from server_tracing.inside.xray_entities import (
    EntitySpan,
    InnerSegment,
    Joined,
    OtherSpan,
    RequestSegment,
    RequestSubsegment,
)
from server_tracing.unpatched import ours

if TYPE_CHECKING:
    from server_tracing.inside.host import Host
    from server_tracing.inside.live import Live

VIEW, SDK = "xray", "aws_xray_sdk"
CAN_GO = "%s begins a segment for each request. It can go: what the server records of it is the segment."

log = logging.getLogger("server_tracing")

_original: dict[str, Callable[..., Any]] = {}  # methods of the recorder; empty until the SDK is followed
_told_that_it_can_go = False


def follow(host: Host) -> None:
    """Have the recorder work on our requests, once in a process."""
    if _original or isinstance(vars(xray_recorder).get("_context"), LambdaContext):
        return
    for joined in JOINED:
        name = joined.__name__
        method = _original[name] = vars(AWSXRayRecorder)[name]
        setattr(AWSXRayRecorder, name, functools.wraps(method)(joined))
    AWSXRayRecorder._context = InHand("_context", RequestContext)
    AWSXRayRecorder._sampler = InHand("_sampler", RequestSampler)
    aim(host.config)
    when_imported("aws_xray_sdk.core.async_context", mend_tasks)


def mend_tasks() -> None:
    """Where the application has the SDK follow its tasks."""
    from server_tracing.inside.xray_tasks import mend

    mend()


def aim(config: Config) -> None:
    """Have segments that are begun by hand outside of requests go where ours go."""
    settings, defaults = config.xray, XRay()
    if (
        "xray" in config.exporters
        and settings.transport == "api"
        and type(xray_recorder.emitter) is UDPEmitter
    ):
        xray_recorder.emitter = Emitter()
    elif settings.daemon_address != defaults.daemon_address:
        try:
            xray_recorder.emitter.set_daemon_address(settings.daemon_address)
        except Exception:  # noqa: BLE001 - an emitter of the application's, an address of IPv6
            log.warning("segments begun by hand do not go to %s: the SDK cannot.", settings.daemon_address)
    if settings.context_missing != defaults.context_missing:
        vars(xray_recorder)["_context"].context_missing = settings.context_missing


class Emitter:
    """Leaves segments to the exporter of this process."""

    def send_entity(self, entity: Any) -> None:
        try:
            by_hand.add(entity.serialize())
        except Exception:
            log.exception("a segment cannot be written down")

    def set_daemon_address(self, address: object) -> None:
        """No daemon is asked."""


class InHand:
    """An attribute of a recorder that is another one while a request is in hand."""

    def __init__(self, name: str, within: Callable[[Any], Any]) -> None:
        self.name, self.within = name, within

    def __get__(self, recorder: Any, owner: type) -> Any:
        if recorder is None:
            return self
        outside = vars(recorder)[self.name]
        return self.within(outside) if live_in_hand() is not None or ours.get() else outside

    def __set__(self, recorder: Any, value: Any) -> None:
        vars(recorder)[self.name] = value


# ------------------------------------------------------------ where the code is


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


# ------------------------------------------------------------ the recorder's methods


def begin_segment(recorder: Any, name: Any = None, *arguments: Any, **named: Any) -> Any:
    live = live_in_hand()
    if live is None or live.ended:
        if live is not None:
            here.set(None)  # a task that goes on after its request begins something of its own
        return _original["begin_segment"](recorder, name, *arguments, **named)
    segment = segment_of(live)
    if segment.begun or open_entity() is not None:
        return begun(name or segment.name, "local", live, InnerSegment)
    segment.begun = True
    say_once_that_it_can_go()
    return segment


def end_segment(recorder: Any, end_time: Any = None) -> Any:
    if live_in_hand() is None:
        return _original["end_segment"](recorder, end_time)
    return end(open_entity(InnerSegment), end_time)


def begin_subsegment(recorder: Any, name: Any, namespace: Any = "local") -> Any:
    live = live_in_hand()
    if live is None:
        return None if ours.get() else _original["begin_subsegment"](recorder, name, namespace)
    place = here.get()
    if isinstance(place, EntitySpan) and isinstance(place.entity, DummySubsegment):
        return _original["begin_subsegment"](recorder, name, namespace)
    return begun(name, namespace, live, RequestSubsegment)


def end_subsegment(recorder: Any, end_time: Any = None) -> Any:
    if live_in_hand() is None:
        return _original["end_subsegment"](recorder, end_time)
    return end(open_entity(), end_time)


def put_annotation(recorder: Any, key: Any, value: Any) -> Any:
    live = live_in_hand()
    if live is None:
        return _original["put_annotation"](recorder, key, value)
    return current(live).put_annotation(key, value)


def put_metadata(recorder: Any, key: Any, value: Any, namespace: Any = "default") -> Any:
    live = live_in_hand()
    if live is None:
        return _original["put_metadata"](recorder, key, value, namespace)
    return current(live).put_metadata(key, value, namespace)


def set_trace_entity(recorder: Any, trace_entity: Any) -> Any:
    if not carried_to(trace_entity):
        _original["set_trace_entity"](recorder, trace_entity)


JOINED = (
    begin_segment,
    end_segment,
    begin_subsegment,
    end_subsegment,
    put_annotation,
    put_metadata,
    set_trace_entity,
)


def say_once_that_it_can_go() -> None:
    """Whoever begins segments for requests does not need to any more."""
    global _told_that_it_can_go
    if not _told_that_it_can_go:
        _told_that_it_can_go = True
        log.warning(CAN_GO, calling_module(SDK + ".core", __name__.rpartition(".")[0]))
