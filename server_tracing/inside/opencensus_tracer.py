"""What any of OpenCensus' tracers works with while a request is in hand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from opencensus.trace.tracers.base import NullContextManager
from opencensus.trace.tracers.context_tracer import ContextTracer

from server_tracing.inside.opencensus_spans import (
    JoinedSpan,
    TheirSpan,
    current_span,
    live_in_hand,
    open_span,
    request_span,
    say_once_that_it_can_go,
    span_context,
)
from server_tracing.inside.spans import Span, activate, begin, deactivate
from server_tracing.inside.values import label

if TYPE_CHECKING:
    from server_tracing.inside.live import Live

# The functions in which OpenCensus' middlewares begin their span.
MIDDLEWARE = frozenset(
    (
        ("opencensus.ext.django.middleware", "process_request"),
        ("opencensus.ext.flask.flask_middleware", "_before_request"),
        ("opencensus.ext.pyramid.pyramid_middleware", "_before_request"),
        ("opencensus.ext.fastapi.fastapi_middleware", "dispatch"),
    )
)


class RequestTracer(ContextTracer):  # type: ignore[misc]
    """What any tracer works with while a request is in hand. `own` is what it works with elsewhere."""

    def __init__(self, own: Any) -> None:
        self.own = own
        self.exporter = getattr(own, "exporter", None)

    @property
    def span_context(self) -> Any:
        live = live_in_hand()
        return self.own.span_context if live is None else span_context(live)

    @property
    def trace_id(self) -> Any:
        return self.span_context.trace_id

    def start_span(self, name: str = "span") -> Any:
        live = live_in_hand()
        if live is None:
            return self.own.start_span(name)
        above = open_span()
        if above is None and begun_by_middleware():
            say_once_that_it_can_go()
            return request_span(live)
        ours = TheirSpan(label(name))
        begin(ours)
        parent = above.theirs if above is not None else parent_of(ours, live)
        ours.theirs = theirs = JoinedSpan(name, parent, ours, self)
        activate(ours)
        theirs.start()
        return theirs

    def end_span(self, *arguments: Any, **named: Any) -> Any:
        live = live_in_hand()
        if live is None:
            return self.own.end_span(*arguments, **named)
        ours = open_span()
        if ours is None:  # that of the request, which ends when the server has answered
            return self.hand_over(request_span(live))
        theirs, ours.theirs = ours.theirs, None
        deactivate(ours)
        theirs.finish()
        return self.hand_over(theirs)

    def finish(self) -> None:
        while open_span() is not None:
            self.end_span()

    def current_span(self) -> Any:
        live = live_in_hand()
        return self.own.current_span() if live is None else current_span(live)

    def list_collected_spans(self) -> list[Any]:
        return []

    def hand_over(self, span: Any) -> Any:
        """To an exporter that is not Application Insights': that one would tell of it twice."""
        if isinstance(self.own, ContextTracer) and not is_azure(self.own.exporter):
            self.own.exporter.export(self.get_span_datas(span))
        return span


def parent_of(ours: Span, live: Live) -> NullContextManager:
    """The request, or a span of somebody else's, as the parent of one of OpenCensus': that is an id to it."""
    return NullContextManager(span_id=f"{ours.parent_id:016x}" if ours.parent_id else live.span_id)


def is_azure(exporter: object) -> bool:
    """Whether this is OpenCensus' own way to Application Insights."""
    module = sys.modules.get("opencensus.ext.azure.trace_exporter")
    return module is not None and isinstance(exporter, module.AzureExporter)


def begun_by_middleware() -> bool:
    """Whether it is OpenCensus' middleware that begins a span."""
    frame = sys._getframe(2)
    if frame.f_globals.get("__name__") == "opencensus.trace.tracer" and frame.f_back is not None:
        frame = frame.f_back
    return (frame.f_globals.get("__name__"), frame.f_code.co_name) in MIDDLEWARE
