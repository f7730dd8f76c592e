"""OpenCensus in the application: whatever tracer it uses, its spans are those of our requests."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from inside_kit import Lab

import server_tracing
from server_tracing.config import Config
from server_tracing.inside import here
from server_tracing.inside.executors import follow as follow_executors

pytest.importorskip("opencensus.ext.azure")
from opencensus.common.runtime_context import RuntimeContext
from opencensus.trace import execution_context, samplers
from opencensus.trace.base_exporter import Exporter
from opencensus.trace.link import Link
from opencensus.trace.span import SpanKind
from opencensus.trace.status import Status
from opencensus.trace.tracer import Tracer

from server_tracing.inside import opencensus, opencensus_spans

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = ("TRACEPARENT", f"00-{TRACE}-00f067aa0ba902b7-01")

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # OpenCensus'


class Collected(Exporter):
    """An exporter that is none of Application Insights'."""

    def __init__(self):
        self.spans = []

    def export(self, span_datas):
        self.spans.extend(span_datas)


@pytest.fixture(scope="module", autouse=True)
def followed():
    """OpenCensus as it was, for whoever comes next."""
    slots = RuntimeContext._slots
    before = dict(slots)
    opencensus.follow(Lab(Config(exporters=("local",))).host)
    follow_executors()
    yield
    slots.update(before)
    execution_context._tracer_slot = before["tracer"]
    execution_context._current_span_slot = before["current_span"]
    del Tracer.tracer, Tracer.span_context


@pytest.fixture
def lab(monkeypatch):
    """A worker whose application uses OpenCensus, which has nothing current."""
    monkeypatch.setattr(here, "companion", None)
    monkeypatch.setattr(opencensus_spans, "_told_that_it_can_go", False)
    execution_context.clear()
    return Lab()


def tracer():
    """The usual way to get one."""
    return execution_context.get_opencensus_tracer()


def parents(record):
    """Names of spans by the names of their parents; `""` is the request."""
    names = {record.span_id: "", **{each.span_id: each.name for each in record.spans}}
    return {each.name: names[each.parent_id] for each in record.spans}


OF_THE_MODULE = Tracer(sampler=samplers.AlwaysOnSampler(), exporter=Collected())
MAKERS = {
    "the context's": tracer,
    "a new one": lambda: Tracer(exporter=Collected(), sampler=samplers.AlwaysOnSampler()),
    "one that samples nothing": lambda: Tracer(exporter=Collected(), sampler=samplers.AlwaysOffSampler()),
    "the module's": lambda: OF_THE_MODULE,
}


@pytest.mark.parametrize("made_by", MAKERS)
def test_spans_are_those_of_the_request(lab, made_by):
    """Whichever tracer they are made with."""
    with lab.request(PARENT):
        used = MAKERS[made_by]()
        with used.span("outer") as outer:
            inner = used.start_span("inner")
            assert execution_context.get_current_span() is used.current_span() is inner
            used.add_attribute_to_current_span("rows", 3)
            used.end_span()
            assert used.current_span() is outer
            with outer.span("child") as child:
                child.add_attribute("a", "b")
    record = lab.record
    assert parents(record) == {"outer": "", "inner": "outer", "child": "outer"}
    assert {each.name: each.annotations for each in record.spans}["inner"] == {"rows": 3}
    assert {each.name: each.annotations for each in record.spans}["child"] == {"a": "b"}
    assert all(each.duration_ms is not None for each in record.spans)
    assert outer.span_id in {each.span_id for each in record.spans}


def test_its_propagators_send_our_trace_on(lab):
    """From the span that is current, with our decision."""
    with lab.request(PARENT, ("TRACESTATE", "a=1")):
        used = tracer()
        outside = used.propagator.to_headers(used.span_context)
        with used.span("call") as call:
            inside = used.propagator.to_headers(used.span_context)
    assert outside == {"traceparent": f"00-{TRACE}-{lab.record.span_id}-01", "tracestate": "a=1"}
    assert inside["traceparent"] == f"00-{TRACE}-{call.span_id}-01"


def test_what_is_said_of_a_span_is_in_its_record(lab):
    """Attributes, kind, a new name, links and events."""
    with lab.request(), tracer().span("old") as span:
        span.name, span.span_kind = "new", SpanKind.CLIENT
        span.add_attribute("http.url", "http://stock/3")
        span.attributes["http.status_code"] = 200
        span.add_link(Link("1" * 32, "2" * 16))
        span.add_annotation("cache miss", key="k")
    (only,) = lab.record.spans
    assert (only.name, only.kind) == ("new", "client")
    assert only.annotations == {"http.url": "http://stock/3", "http.status_code": 200}
    assert only.metadata["links"] == [{"trace_id": "1" * 32, "span_id": "2" * 16}]
    assert only.metadata["events"][0]["message"] == "cache miss"


def test_what_failed_is_said(lab):
    """An exception whole; a status where there is nothing better."""

    def fail():
        with tracer().span("raised"):
            raise ValueError("boom")

    with lab.request():
        with pytest.raises(ValueError, match="boom"):
            fail()
        with tracer().span("status") as span:
            span.set_status(Status(4, "too slow"))
        with tracer().span("http") as span:
            span.add_attribute("http.status_code", 404)
            span.set_status(Status(5))
    told = {
        each.name: each.exception and (each.exception.type, each.exception.message)
        for each in lab.record.spans
    }
    assert told == {
        "raised": ("ValueError", "boom"),
        "status": ("DEADLINE_EXCEEDED", "too slow"),
        "http": None,
    }
    assert "fail" in lab.record.spans[0].exception.stack


def test_the_request_can_be_spoken_to(lab):
    """As the span that is current outside of all others; what the server knows better is left aside."""
    with lab.request():
        tracer().add_attribute_to_current_span("customer", 17)
        execution_context.get_current_span().add_attribute("http.url", "http://shop/cart")
        tracer().end_span()
        tracer().finish()
        with tracer().span("work"):
            pass
    assert lab.record.annotations == {"customer": 17}
    assert parents(lab.record) == {"work": ""}


def test_interleaved_requests_keep_to_themselves(lab):
    """Two hundred of them, with tasks, threads, and pools that copy no context."""
    pool = ThreadPoolExecutor(4)

    def in_thread(name):
        with tracer().span("thread") as span:
            span.add_attribute("name", name)

    async def serve(name):
        with lab.request():
            tracer().add_attribute_to_current_span("name", name)
            with tracer().span("outer") as span:
                span.add_attribute("name", name)
                await asyncio.sleep(0)
                loop = asyncio.get_running_loop()
                await asyncio.gather(*(loop.run_in_executor(pool, in_thread, name) for _ in range(2)))
                await asyncio.to_thread(in_thread, name)

    async def all_of_them():
        await asyncio.gather(*(serve(name) for name in range(200)))

    asyncio.run(all_of_them())
    pool.shutdown()
    records = lab.records()
    assert len(records) == 200
    for record in records:
        name = record.annotations["name"]
        assert {each.annotations["name"] for each in record.spans} == {name}
        assert parents(record) == {"outer": "", "thread": "outer"}


def test_its_context_can_be_carried_to_a_thread(lab):
    """By OpenCensus' own ways; afterwards the thread is in no request."""
    seen = []

    def work():
        with tracer().span("work"):
            pass

    def in_thread(carried):
        carried()
        seen.append(here.here.get())

    def by_hand(context):
        execution_context.set_opencensus_full_context(*context)
        work()
        execution_context.clean()

    with lab.request(), tracer().span("outer"):
        context = execution_context.get_opencensus_full_context()
        for carried in (RuntimeContext.with_current_context(work), lambda: by_hand(context)):
            thread = threading.Thread(target=in_thread, args=(carried,))
            thread.start()
            thread.join()
    assert [each.parent_id for each in lab.record.spans if each.name == "work"] == [
        each.span_id for each in lab.record.spans if each.name == "outer"
    ] * 2
    assert seen == [None, None]


def test_middleware_of_ones_own_makes_no_second_request(lab, caplog):
    """The way Microsoft documents it for FastAPI: a span of kind server. What it says is said of the request,
    and a line says, once, that it can go."""
    for _ in range(2):
        with lab.request():
            used = Tracer(exporter=Collected(), sampler=samplers.AlwaysOnSampler())
            with used.span("main") as span:
                span.add_attribute("early", 1)
                span.span_kind = SpanKind.SERVER
                used.add_attribute_to_current_span("http.status_code", 200)
                used.add_attribute_to_current_span("customer", 17)
                with used.span("work"):
                    pass
    for record in lab.records():
        assert record.annotations == {"early": 1, "customer": 17}
        assert {each.name: each.kind for each in record.spans} == {"main": "internal", "work": "internal"}
    assert [line.message for line in caplog.records if line.name == "server_tracing"] == [
        opencensus_spans.CAN_GO % __name__
    ]


@pytest.mark.filterwarnings("ignore:.*getdefaultlocale:DeprecationWarning")
def test_other_exporters_get_what_they_got(lab):
    """Under our trace; one that sends to Application Insights would tell of everything twice."""
    from opencensus.ext.azure.trace_exporter import AzureExporter

    class Azure(AzureExporter):
        def __init__(self):
            self.spans = []

        def export(self, span_datas):
            self.spans.extend(span_datas)

    elsewhere, azure = Collected(), Azure()
    with lab.request(PARENT):
        for exporter in (elsewhere, azure):
            with Tracer(exporter=exporter, sampler=samplers.AlwaysOnSampler()).span("work"):
                pass
    (only,) = elsewhere.spans
    assert (only.name, only.context.trace_id, azure.spans) == ("work", TRACE, [])


def test_outside_of_requests_it_is_as_it_was(lab):
    """Tracers sample and export; without one there is a tracer that does nothing."""
    exporter = Collected()
    with Tracer(exporter=exporter, sampler=samplers.AlwaysOnSampler()).span("script"):
        pass
    execution_context.clear()
    assert type(tracer()).__name__ == "NoopTracer"
    assert execution_context.get_current_span() is None
    assert [each.name for each in exporter.spans] == ["script"]


def test_a_span_left_open_ends_with_its_request(lab):
    """It is nobody's parent in the next one, whose tracer may even be the same."""
    used = Tracer(exporter=Collected(), sampler=samplers.AlwaysOnSampler())
    with lab.request():
        used.start_span("left")
    with lab.request(), used.span("mine"):
        pass
    first, second = lab.records()
    assert ([each.duration_ms for each in first.spans], parents(second)) == ([None], {"mine": ""})


def test_theirs_and_ours_nest_in_each_other(lab):
    """As the blocks do; ours can be spoken to as a span."""
    with lab.request(), server_tracing.span("ours"):
        tracer().current_span().add_attribute("a", 1)
        with tracer().span("theirs"), server_tracing.span("inner"):
            pass
    assert parents(lab.record) == {"ours": "", "theirs": "ours", "inner": "theirs"}
    assert {each.name: each.annotations for each in lab.record.spans}["ours"] == {"a": 1}


def test_a_tracestate_it_cannot_read_is_not_sent_on(lab):
    """Its grammar is narrower than the standard's; nothing raises."""
    with lab.request(PARENT, ("TRACESTATE", "1a@B=x,b=2,b=3")):
        used = Tracer(exporter=Collected(), sampler=samplers.AlwaysOnSampler())
        sent = used.propagator.to_headers(used.span_context)
    assert set(sent) == {"traceparent"}


def test_misuse_costs_nothing_but_what_was_misused(lab):
    """Spans without a name, ended twice, by the wrong end, by the thousand, with odd attributes."""

    class Odd:
        def __str__(self):
            raise RuntimeError

    with lab.request():
        tracer().end_span()
        with tracer().span(Odd()) as span:
            span.add_attribute(1, Odd())
            span.add_attribute("n" * 1000, float("nan"))
            span.add_annotation(Odd(), a=Odd())
            span.status = Odd()
            tracer().end_span()
        span.finish()
        for _ in range(1500):
            tracer().start_span("many")
        tracer().finish()
    record = lab.record
    assert (len(record.spans), record.spans_dropped) == (1000, 501)
    assert all(each.duration_ms is not None for each in record.spans)


def test_no_garbage_is_left_for_the_collector(lab):
    """Spans go with their request, but for the cycle that OpenCensus' own are."""
    import gc

    def serve():
        with lab.request():
            tracer().add_attribute_to_current_span("a", 1)
            with tracer().span("work"):
                pass

    serve()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            serve()
        assert gc.collect() < 10
    finally:
        gc.enable()
