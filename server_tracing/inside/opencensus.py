"""OpenCensus within our requests: whoever asks it for a tracer or a span gets the request's, on every server.

Hooked are two slots of its context, `tracer` and `current_span`, and two attributes of its class `Tracer`,
which its methods and everybody's integrations go through: `tracer`, what begins and ends spans, and
`span_context`, what is sent on. Each asks first whether a request of ours is in hand; where none is,
everything is OpenCensus' own. So it does not matter which tracer is used, a module's, middleware's or the
context's, nor how it would have sampled; exporters other than Application Insights' still get what
they got.

Here our code does what OpenCensus' loses: spans of forked workers, of threads and of tasks, and a tracer that
an exception left behind for the next request on the thread.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from opencensus.common.runtime_context import RuntimeContext
from opencensus.trace import execution_context
from opencensus.trace.base_exporter import Exporter
from opencensus.trace.propagation.trace_context_http_header_format import TraceContextPropagator
from opencensus.trace.samplers import AlwaysOffSampler
from opencensus.trace.tracers.noop_tracer import NoopTracer

from server_tracing.inside.carrying import carry_to, is_carried, leave
from server_tracing.inside.opencensus_spans import (
    JoinedSpan,
    RequestSpan,
    current_span,
    live_in_hand,
    span_context,
)
from server_tracing.inside.opencensus_tracer import RequestTracer

if TYPE_CHECKING:
    from server_tracing.inside.host import Host

TRACER, SPAN, ATTRIBUTES = "tracer", "current_span", "attrs"
HOSTS = "excludelist_hostnames"  # as integrations ask for them


def follow(host: Host) -> None:
    """Have OpenCensus work on our requests, as far as it is imported; once in a process."""
    slots = RuntimeContext._slots
    complete_noop_tracer()
    if not isinstance(slots[TRACER], Slot):
        slots[TRACER] = execution_context._tracer_slot = TracerSlot(slots[TRACER])
        slots[SPAN] = execution_context._current_span_slot = SpanSlot(slots[SPAN])
    if host.config.azure.excluded_hosts and not isinstance(slots[ATTRIBUTES], Slot):
        hosts = list(host.config.azure.excluded_hosts)
        slots[ATTRIBUTES] = execution_context._attrs_slot = AttributesSlot(slots[ATTRIBUTES], hosts)
    tracer_class = getattr(sys.modules.get("opencensus.trace.tracer"), "Tracer", None)
    if tracer_class is not None and not isinstance(vars(tracer_class).get("tracer"), TracersTracer):
        tracer_class.tracer = TracersTracer()
        tracer_class.span_context = TracersContext()


# ------------------------------------------------------------ the context


class Slot:
    """A slot of OpenCensus' context, in front of the one it had."""

    def __init__(self, outside: Any) -> None:
        self.outside = outside
        self.name = outside.name

    def get(self) -> Any:
        return self.outside.get()

    def set(self, value: Any) -> None:
        self.outside.set(value)

    def clear(self) -> None:
        self.outside.clear()


class TracerSlot(Slot):
    """A request has a tracer, whether or not anybody made one for it."""

    def get(self) -> Any:
        found = self.outside.get()
        if live_in_hand() is None:
            return found
        from opencensus.trace.tracer import Tracer

        return found if isinstance(found, Tracer) else requests_tracer(Tracer)


class SpanSlot(Slot):
    """The current span is where the code is."""

    def get(self) -> Any:
        live = live_in_hand()
        return self.outside.get() if live is None else current_span(live)

    def set(self, value: Any) -> None:
        if isinstance(value, JoinedSpan):
            carry_to(value.ours)
        elif isinstance(value, RequestSpan):
            carry_to(value.live)
        elif live_in_hand() is None:
            self.outside.set(value)
        elif value is None and is_carried():
            leave()

    def clear(self) -> None:
        leave()
        self.outside.clear()


class AttributesSlot(Slot):
    """What middleware leaves for integrations: the hosts they do not tell of."""

    def __init__(self, outside: Any, hosts: list[str]) -> None:
        super().__init__(outside)
        self.hosts = hosts

    def get(self) -> Any:
        return {HOSTS: self.hosts, **self.outside.get()}


PARTS = {"sampler": AlwaysOffSampler(), "exporter": Exporter(), "propagator": TraceContextPropagator()}

_requests_tracer: Any = None


def requests_tracer(tracer_class: type) -> Any:
    """The tracer of requests for which nobody made one; in itself it samples nothing and sends nothing."""
    global _requests_tracer
    if _requests_tracer is None:
        made: Any = object.__new__(tracer_class)
        own = NoopTracer()
        vars(made).update(PARTS, tracer=own, span_context=own.span_context)
        _requests_tracer = made
    return _requests_tracer


def complete_noop_tracer() -> None:
    """Give the tracer of code outside of requests what integrations ask every tracer for: the one for threads
    raises without, in gunicorn's gthread worker for example."""
    for name, part in PARTS.items():
        if not hasattr(NoopTracer, name):
            setattr(NoopTracer, name, part)


# ------------------------------------------------------------ its tracers


class TracersTracer:
    """`Tracer.tracer`: what its methods hand on to."""

    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None:
            return self
        own = vars(owner)["tracer"]
        return own if live_in_hand() is None else RequestTracer(own)

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner)["tracer"] = value


class TracersContext:
    """`Tracer.span_context`: what is sent on to other services."""

    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None:
            return self
        live = live_in_hand()
        return vars(owner)["span_context"] if live is None else span_context(live)

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner)["span_context"] = value
