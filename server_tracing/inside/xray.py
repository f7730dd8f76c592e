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

from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.lambda_launcher import LambdaContext
from aws_xray_sdk.core.models.dummy_entities import DummySubsegment
from aws_xray_sdk.core.recorder import AWSXRayRecorder

from server_tracing.inside.callers import calling_module
from server_tracing.inside.here import here
from server_tracing.inside.xray_context import (
    RequestContext,
    RequestSampler,
    begun,
    carried_to,
    current,
    end,
    live_in_hand,
    open_entity,
    segment_of,
)
from server_tracing.inside.xray_entities import EntitySpan, InnerSegment, RequestSubsegment
from server_tracing.inside.xray_outside import aim, mend_tasks
from server_tracing.unpatched import ours

if TYPE_CHECKING:
    from server_tracing.inside.host import Host

SDK = "aws_xray_sdk"
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
    mend_tasks()


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
