"""A request and its spans as the X-Ray SDK's segment and subsegments.

The SDK's classes with their validation and their attributes, because patches and applications set those
(`name`, `namespace`, `http`, `sql`, `aws`); what is said to them is written to the request's record, a
subsegment's blocks when it ends, as metadata under the names they have in a segment document. Nothing is kept
in a tree: a request may have thousands of subsegments, or last for days.

Here our code does what the SDK's loses: ids of unsampled requests (it sends zeros on), the cause of an
exception that passes through two subsegments, and all of what it drops of requests that are not sampled and
fail.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aws_xray_sdk.core.models.entity import Entity
from aws_xray_sdk.core.models.segment import Segment
from aws_xray_sdk.core.models.subsegment import Subsegment
from aws_xray_sdk.core.models.trace_header import TraceHeader

from server_tracing.inside.callers import calling_module
from server_tracing.inside.live import bounded
from server_tracing.inside.spans import Span, end_span
from server_tracing.inside.values import tree
from server_tracing.propagation.xray import xray_root
from server_tracing.record import Fault, Frame

if TYPE_CHECKING:
    from server_tracing.inside.live import Live

REFUSED = frozenset("?;*()!$~^<>")  # in names, by the SDK
FLAGS = ("error", "throttle", "fault")
BLOCKS = ("http", "sql", "aws")
OURS = ("live", "span", "said", "remote", "begun", "_begun", "parent_segment")
CORE, MIDDLEWARE = "aws_xray_sdk.core", "aws_xray_sdk.ext."
INSIDE = __name__.rpartition(".")[0]
REMOTE = ("remote", "aws")  # namespaces of calls to other services


def describe(entity: Any, entity_id: str, parent_id: str | None, name: str) -> None:
    """What the constructor of the SDK's entities does, with an id that is known and without what is not used:
    made by them, a segment and its subsegment take four times as long."""
    entity.id, entity.parent_id = entity_id, parent_id
    entity.name = name if REFUSED.isdisjoint(name) else "".join(c for c in name if c not in REFUSED)
    entity.start_time = time.time()
    entity.in_progress = True
    entity.http, entity.annotations, entity.metadata, entity.aws, entity.cause = {}, {}, {}, {}, {}
    entity.subsegments = []


class EntitySpan(Span, eq=False):
    """A span of ours that a subsegment of the SDK's tells."""

    entity: Any = None  # None once it has ended


class Joined:
    """What a request's segment and subsegments have in common."""

    live: Live

    @property
    def sampled(self) -> bool:
        """The decision, made when somebody asks."""
        return self.live.sampled

    @sampled.setter
    def sampled(self, value: object) -> None:
        self.live.decide(bool(value))

    def to_dict(self) -> dict[str, Any]:
        """For applications that show it: without what is ours."""
        shown: dict[str, Any] = Entity.to_dict(self)
        return {key: value for key, value in shown.items() if key not in OURS}


class RequestSegment(Joined, Segment):  # type: ignore[misc]
    """The request. What the server knows better (`http`, `service`, `aws`, its end) is not listened to."""

    def __init__(self, live: Live, name: str) -> None:
        heard = live.heard
        parent = heard.context.parent_id if heard.context.trace_id is not None else None
        self.live = live
        self.begun = False  # by the application, see xray.py
        self.user: Any = None
        self.trace_id = xray_root(heard.trace_id)
        describe(self, live.span_id, f"{parent:016x}" if parent else None, name)

    def put_annotation(self, key: str, value: object) -> None:
        super().put_annotation(key, value)
        if isinstance(key, str) and key in self.annotations:
            self.live.annotate(key, self.annotations.pop(key))

    def put_metadata(self, key: str, value: object, namespace: str = "default") -> None:
        super().put_metadata(key, value, namespace)
        if isinstance(namespace, str) and self.metadata.pop(namespace, None):
            self.live.metadata(key, value, namespace)

    def set_user(self, user: object) -> None:
        self.user = user
        self.live.user = user

    def add_exception(self, exception: object, stack: Any, remote: bool = False) -> None:
        """But for the word of the SDK's middleware, which has a handled one, such as that of a 404, for a
        failure: one that is not handled is known already."""
        if self.begun and calling_module(CORE, INSIDE).startswith(MIDDLEWARE):
            return
        fault = fault_of(self.live, exception, stack)
        if fault is not None:
            self.live.raised(fault)

    def add_fault_flag(self) -> None:
        self._flag("fault")

    def add_error_flag(self) -> None:
        self._flag("error")

    def add_throttle_flag(self) -> None:
        self._flag("throttle")

    def _flag(self, name: str) -> None:
        """Of a request the status decides; what the application thought of it can be looked at."""
        self.live.metadata(name, True, "xray")

    def get_origin_trace_header(self) -> Any:
        """What came in, as far as it is believed, with the fields to hand on."""
        context = self.live.heard.context
        pairs = (field.partition("=") for field in (context.xray_extra or "").split(";") if field)
        asked = "?" if context.sampled_asked else context.sampled
        return TraceHeader(self.trace_id, self.parent_id, asked, {key: value for key, _, value in pairs})

    def save_origin_trace_header(self, trace_header: object) -> None:
        """Known already."""

    def put_http_meta(self, key: str, value: object) -> None:
        """Known better."""

    def apply_status_code(self, status_code: object) -> None:
        """Known better."""

    def set_aws(self, aws_meta: object) -> None:
        """Known to the exporter."""

    def set_service(self, service_info: object) -> None:
        """Known to the exporter."""

    def set_rule_name(self, rule_name: object) -> None:
        """Known to the exporter."""

    def close(self, end_time: float | None = None) -> None:
        """It ends when the server has answered."""

    def ready_to_send(self) -> bool:
        """Never: its record goes another way."""
        return False

    def increment(self) -> None:
        """Nothing is counted: see above."""

    def decrement_ref_counter(self) -> None:
        """As well."""

    def get_total_subsegments_size(self) -> int:
        """None are kept."""
        return 0


class RequestSubsegment(Joined, Subsegment):  # type: ignore[misc]
    """A subsegment of a request's."""

    def __init__(self, name: str, namespace: str, segment: RequestSegment, span: Span) -> None:
        self.live = segment.live
        self.span = span
        self.said: Fault | None = None
        self.remote = False
        self.parent_segment = segment
        self.trace_id = segment.trace_id
        self.type = "subsegment"
        self.namespace = namespace
        self.sql: Any = {}
        parent = f"{span.parent_id:016x}" if span.parent_id else segment.id
        describe(self, f"{span.span_id:016x}", parent, name)
        self._begun = self.start_time

    def put_annotation(self, key: str, value: object) -> None:
        super().put_annotation(key, value)
        if isinstance(key, str) and key in self.annotations:
            self.span.annotate(key, value)

    def put_metadata(self, key: str, value: object, namespace: str = "default") -> None:
        super().put_metadata(key, value, namespace)
        if isinstance(namespace, str) and self.metadata.pop(namespace, None):
            self.span.metadata_within("metadata", namespace, key, value)

    def add_exception(self, exception: object, stack: Any, remote: bool = False) -> None:
        self._check_ended()
        self.add_fault_flag()
        if self.said is None:
            self.said = fault_of(self.live, exception, stack)
            self.remote = remote

    def close(self, end_time: float | None = None) -> None:
        super().close(end_time)
        finish(self)

    def add_subsegment(self, subsegment: Any) -> None:
        """Not kept, see above."""
        subsegment.parent_id = self.id


class InnerSegment(RequestSubsegment):
    """A segment that is begun within a request: a part of it, that can be spoken to as a segment."""

    def set_user(self, user: object) -> None:
        self.parent_segment.set_user(user)

    def set_service(self, service_info: object) -> None:
        """Known to the exporter."""

    def set_rule_name(self, rule_name: object) -> None:
        """Known to the exporter."""

    def ready_to_send(self) -> bool:
        """Never: its record goes another way."""
        return False


class OtherSpan(RequestSubsegment):
    """A span that was begun by other means, as a subsegment that can be spoken to."""

    def __init__(self, span: Span, segment: RequestSegment) -> None:
        super().__init__(span.name, "local", segment, span)

    def close(self, end_time: float | None = None) -> None:
        """It ends where it was begun."""


def finish(entity: RequestSubsegment) -> None:
    """Write a subsegment that has ended, as the SDK's attributes have it by now."""
    span = entity.span
    if span.name != entity.name:
        span.rename(entity.name)
    span.kind = "client" if entity.namespace in REMOTE else "internal"
    for key, value in blocks(entity):
        span.detail(key, value)
    if entity.start_time != entity._begun:
        span.start = stamp(span, entity.start_time, 1)
    end_span(span, stop=stamp(span, entity.end_time, span.start), fault=entity.said)


def blocks(entity: RequestSubsegment) -> Any:
    """What a segment document says of a subsegment beside times, annotations and metadata."""
    if entity.namespace != "local":
        yield "namespace", entity.namespace
    told = vars(entity)
    for name in BLOCKS:
        if told.get(name):
            yield name, bounded(tree(told[name]))
    if entity.remote:
        yield "cause", {"remote": True}
    for name in FLAGS:
        if told.get(name):
            yield name, True


def stamp(span: Span, wall: Any, earliest: int) -> int:
    """The monotonic time of a wall time just past, or set by the application to anything."""
    assert span.live is not None
    now = span.live.host.clock()
    try:
        return min(now, max(earliest, now - int((time.time() - wall) * 1e9)))
    except Exception:  # noqa: BLE001 - no number, or none that is a time
        return now


def fault_of(live: Live, exception: object, stack: Any) -> Fault | None:
    """An exception as a record has it; the stack given counts where it has none of its own."""
    if not isinstance(exception, BaseException):
        return None
    fault = live.host.fault_from(exception)
    if not fault.frames and stack:
        fault.frames = [Frame(str(entry[0]), int(entry[1]), str(entry[2])) for entry in stack]
    return fault
