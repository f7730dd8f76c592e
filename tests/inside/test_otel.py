"""OpenTelemetry in the application: its spans and ours are one trace, and one record."""

from __future__ import annotations

import asyncio

import pytest
from inside_kit import Lab

import server_tracing
from server_tracing import current
from server_tracing.inside import here

pytest.importorskip("opentelemetry.sdk.trace")
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server_tracing.inside import otel

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = ("TRACEPARENT", f"00-{TRACE}-00f067aa0ba902b7-01")


class Followed(Lab):
    """A worker whose application has a provider, with an exporter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        otel.follow(provider)
        self.span = provider.get_tracer("shop").start_as_current_span

    def exported(self):
        """What OpenTelemetry's own exporter got: name -> (trace id, span id, id of the parent)."""
        return {
            span.name: (
                f"{span.context.trace_id:032x}",
                f"{span.context.span_id:016x}",
                span.parent and f"{span.parent.span_id:016x}",
            )
            for span in self.exporter.get_finished_spans()
        }


@pytest.fixture
def lab(monkeypatch):
    """Nobody else's requests are accompanied."""
    monkeypatch.setattr(here, "companion", None)
    return Followed()


def parents(record):
    """Names of spans by the names of their parents; `""` is the request."""
    names = {record.span_id: "", **{each.span_id: each.name for each in record.spans}}
    return {each.name: names[each.parent_id] for each in record.spans}


def test_the_request_is_the_parent_of_its_spans(lab):
    """In OpenTelemetry's exporter and in our record, under the same ids."""
    with lab.request(PARENT), lab.span("a"), lab.span("b", kind=trace.SpanKind.CLIENT):
        pass
    record, sent = lab.record, lab.exported()
    spans = {each.name: each for each in record.spans}
    assert sent["a"] == (TRACE, spans["a"].span_id, record.span_id)
    assert sent["b"] == (TRACE, spans["b"].span_id, spans["a"].span_id)
    assert parents(record) == {"a": "", "b": "a"}
    assert (spans["b"].kind, spans["b"].duration_ms is not None) == ("client", True)


def test_theirs_and_ours_nest_in_each_other(lab):
    """As the blocks do, whoever made them."""
    ours, inner = server_tracing.span("ours"), server_tracing.span("inner")
    with lab.request(), ours, lab.span("theirs"), inner, lab.span("innermost"):
        pass
    assert parents(lab.record) == {"ours": "", "theirs": "ours", "inner": "theirs", "innermost": "inner"}
    spans = {each.name: each.span_id for each in lab.record.spans}
    assert lab.exported()["theirs"][2] == spans["ours"]
    assert lab.exported()["innermost"][2] == spans["inner"]


def test_what_is_said_of_a_span_is_in_its_record(lab):
    """Attributes, a new name, an exception; and of the current span, which may be ours."""

    def fail():
        with lab.span("old", attributes={"db": "shop"}) as span:
            span.set_attribute("rows", [1, 2])
            span.update_name("new")
            raise ValueError("boom")

    with lab.request():
        trace.get_current_span().set_attributes({"of": "the request", "n": 1})
        with pytest.raises(ValueError, match="boom"):
            fail()
    (only,) = lab.record.spans
    assert lab.record.annotations == {"of": "the request", "n": 1}
    assert (only.name, only.annotations) == ("new", {"db": "shop", "rows": "(1, 2)"})
    assert (only.exception.type, only.exception.message) == ("ValueError", "boom")


def test_its_propagators_send_our_trace_on(lab):
    """With our decision."""
    carrier: dict[str, str] = {}
    with lab.request(PARENT, ("TRACESTATE", "a=1")):
        propagate.inject(carrier)
        assert current().sampled is True
    assert carrier == {"traceparent": f"00-{TRACE}-{lab.record.span_id}-01", "tracestate": "a=1"}


def test_interleaved_requests_keep_to_themselves(lab):
    """Two hundred of them, with tasks and threads."""

    def in_thread(name):
        with lab.span(f"thread {name}"):
            pass

    async def serve(name):
        with lab.request():
            current().annotate("name", name)
            with lab.span(f"outer {name}"):
                await asyncio.sleep(0)
                await asyncio.to_thread(in_thread, name)
                with server_tracing.span(f"ours {name}"):
                    await asyncio.sleep(0)

    async def all_of_them():
        await asyncio.gather(*(serve(name) for name in range(200)))

    asyncio.run(all_of_them())
    for record in lab.records():
        name = record.annotations["name"]
        outer = f"outer {name}"
        assert parents(record) == {outer: "", f"thread {name}": outer, f"ours {name}": outer}


def test_a_span_left_open_ends_with_its_request(lab):
    """It is nobody's parent in the next one, and when it ends, nothing happens."""
    with lab.request():
        left = lab.span("left")
        left.__enter__()
    assert trace.get_current_span() is trace.INVALID_SPAN
    with lab.request(), lab.span("mine"):
        pass
    first, second = lab.records()
    assert parents(second) == {"mine": ""}
    assert [each.duration_ms for each in first.spans] == [None]
    assert lab.exported()["mine"][2] == second.span_id


def test_a_trace_begun_on_purpose_is_not_ours(lab):
    """Nor is anything outside of a request."""
    with lab.span("outside"):
        pass
    with lab.request(), lab.span("elsewhere", context=Context()):
        pass
    assert lab.record.spans == []
    assert lab.exported()["elsewhere"][0] != lab.record.trace_id
