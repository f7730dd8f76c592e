"""The X-Ray SDK in the application: its segments are our requests, its subsegments their spans."""

from __future__ import annotations

import asyncio
import contextvars
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from inside_kit import Lab, counted

import server_tracing
from server_tracing import by_hand
from server_tracing.config import Config, Sampling, XRay
from server_tracing.inside import here
from server_tracing.inside.executors import follow as follow_executors
from server_tracing.unpatched import start_thread

pytest.importorskip("aws_xray_sdk")
from aws_xray_sdk import global_sdk_config
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.context import Context
from aws_xray_sdk.core.emitters.udp_emitter import UDPEmitter
from aws_xray_sdk.core.models.segment import Segment
from aws_xray_sdk.ext.util import calculate_sampling_decision, inject_trace_header

from server_tracing.inside import xray, xray_outside

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
HEADER = ("X-AMZN-TRACE-ID", f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:1")
UNSAMPLED = ("X-AMZN-TRACE-ID", f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=0")


class Emitted(list):
    """What the SDK itself would have sent."""

    def send_entity(self, entity):
        self.append(json.loads(entity.serialize()))


@pytest.fixture(scope="module", autouse=True)
def followed():
    """The recorder's class as it was, for whoever comes next."""
    from aws_xray_sdk.core.recorder import AWSXRayRecorder

    before = dict(vars(AWSXRayRecorder))
    lab = Lab(Config(exporters=("xray",)))
    xray.follow(lab.host)
    follow_executors()
    yield
    for name in set(vars(AWSXRayRecorder)) - set(before):
        delattr(AWSXRayRecorder, name)
    for name in xray._original:
        setattr(AWSXRayRecorder, name, before[name])
    xray._original.clear()


@pytest.fixture
def lab(monkeypatch):
    """A worker whose application uses the SDK."""
    monkeypatch.setattr(here, "companion", None)
    monkeypatch.setattr(xray, "_told_that_it_can_go", False)
    return Lab(Config(exporters=("xray",)))


@pytest.fixture
def emitted(monkeypatch):
    """Segments that go the SDK's own way, from a context of its own."""
    monkeypatch.setitem(vars(xray_recorder), "_context", Context())
    monkeypatch.setitem(vars(xray_recorder), "_emitter", sent := Emitted())
    monkeypatch.setitem(vars(xray_recorder), "_sampling", False)
    return sent


def parents(record):
    """Names of spans by the names of their parents; `""` is the request."""
    names = {record.span_id: "", **{each.span_id: each.name for each in record.spans}}
    return {each.name: names[each.parent_id] for each in record.spans}


def test_the_request_is_the_current_segment(lab):
    """With our ids, in X-Ray's words."""
    with lab.request(HEADER):
        segment = xray_recorder.current_segment()
        assert xray_recorder.current_segment() is segment
        assert xray_recorder.current_subsegment() is None
        seen = (segment.trace_id, segment.id, segment.parent_id, segment.sampled, segment.name)
        assert xray_recorder.is_sampled() is True
    assert seen == (ROOT, lab.record.span_id, "53995c3f42cd8ad8", True, "shop")


def test_subsegments_are_its_spans(lab):
    """By every way the SDK has to begin one."""

    @xray_recorder.capture("captured")
    def captured():
        with xray_recorder.in_subsegment("inner", namespace="remote"):
            pass

    with lab.request():
        outer = xray_recorder.begin_subsegment("outer")
        assert xray_recorder.current_subsegment() is outer
        captured()
        xray_recorder.end_subsegment()
        assert xray_recorder.current_subsegment() is None
    record = lab.record
    assert parents(record) == {"outer": "", "captured": "outer", "inner": "captured"}
    assert {each.name: each.kind for each in record.spans}["inner"] == "client"
    assert all(each.duration_ms is not None for each in record.spans)
    assert outer.id in {each.span_id for each in record.spans}


def test_what_is_said_stands_where_it_was_said(lab):
    """Of the segment in the request, of the subsegment in its span, by the SDK's own rules."""
    with lab.request():
        xray_recorder.put_annotation("of", "request")
        xray_recorder.put_metadata("cart", {"items": [1, 2]}, "shop")
        xray_recorder.current_segment().set_user("ann")
        with xray_recorder.in_subsegment("work") as work:
            xray_recorder.put_annotation("of", "work")
            xray_recorder.put_annotation("not.allowed", 1)
            work.put_annotation("n", 3)
            work.put_metadata("a", 1)
            xray_recorder.put_metadata("b", {2}, "shop")
            xray_recorder.current_segment().put_annotation("more", True)
    record, (span,) = lab.record, lab.record.spans
    assert record.annotations == {"of": "request", "more": True}
    assert record.metadata == {"shop": {"cart": {"items": [1, 2]}}}
    assert record.user == "ann"
    assert span.annotations == {"of": "work", "n": 3}
    assert span.metadata == {"metadata": {"default": {"a": 1}, "shop": {"b": [2]}}}


def test_the_blocks_of_a_call_are_in_its_span(lab):
    """As patches leave them on the subsegment, to the last moment."""
    with lab.request(), xray_recorder.in_subsegment("tmp", namespace="local") as call:
        call.name, call.namespace = "db.example.com", "remote"
        call.put_http_meta("url", "http://stock.example.com/3")
        call.put_http_meta("status", 503)
        call.set_sql({"sanitized_query": "select 1", "url": b"x"})
        call.set_aws({"operation": "PutItem", "keys": {"a": 1}.keys()})
    (span,) = lab.record.spans
    assert (span.name, span.kind) == ("db.example.com", "client")
    assert span.metadata == {
        "namespace": "remote",
        "http": {"request": {"url": "http://stock.example.com/3"}, "response": {"status": 503}},
        "sql": {"sanitized_query": "select 1", "url": "b'x'"},
        "aws": {"operation": "PutItem", "keys": ["a"]},
        "fault": True,
    }


def test_an_exception_is_told_in_every_subsegment_it_passes(lab):
    """Each of them has it whole, with what it was raised from; the request too, if it is told so."""

    def fail():
        with xray_recorder.in_subsegment("outer"), xray_recorder.in_subsegment("inner"):
            try:
                raise KeyError("a")
            except KeyError as error:
                raise ValueError("b") from error

    with lab.request():
        try:
            fail()
        except ValueError as error:
            xray_recorder.current_segment().add_exception(error, [])
    record = lab.record
    for told in (*(each.exception for each in record.spans), record.exception):
        assert (told.type, told.message, told.cause.type) == ("ValueError", "b", "KeyError")
    assert all(each.metadata["fault"] for each in record.spans)


def test_the_trace_goes_on_with_the_subsegments_id(lab):
    """With the decision and the fields of others; also of a request that is not sampled."""
    for header, decision in ((HEADER, "1;Lineage=a87bd80c:1"), (UNSAMPLED, "0")):
        headers: dict[str, str] = {}
        with lab.request(header), xray_recorder.in_subsegment("call", namespace="remote") as call:
            inject_trace_header(headers, call)
        assert headers == {"X-Amzn-Trace-Id": f"Root={ROOT};Parent={call.id};Sampled={decision}"}


def test_a_request_that_is_not_sampled_keeps_its_subsegments():
    """It may fail; then they are wanted."""
    never = Config(exporters=("xray",), xray=XRay(sampling="ratio"), sampling=Sampling(rate=0.0))
    lab = Lab(never)
    with lab.request():
        assert xray_recorder.is_sampled() is False
        with xray_recorder.in_subsegment("work"):
            xray_recorder.put_annotation("a", 1)
        xray_recorder.put_annotation("b", 2)
    record = lab.record
    assert (record.sampled, record.annotations, record.spans[0].annotations) == (False, {"b": 2}, {"a": 1})


def test_the_application_may_decide_itself(lab):
    """`segment.sampled = False` is how people keep a request out."""
    with lab.request(HEADER):
        xray_recorder.current_segment().sampled = False
        assert xray_recorder.is_sampled() is False
    assert lab.record.sampled is False


def test_subsegments_without_sampling_are_not_recorded(lab):
    """Nor is what is begun in them; what comes after is."""
    headers: dict[str, str] = {}
    with lab.request(HEADER):
        with xray_recorder.in_subsegment("outer") as outer:
            silent = xray_recorder.begin_subsegment_without_sampling("silent")
            with xray_recorder.in_subsegment("in silence") as within:
                inject_trace_header(headers, within)
            xray_recorder.end_subsegment()
            assert xray_recorder.current_subsegment() is outer
        assert not silent.in_progress
        with xray_recorder.in_subsegment("after"):
            pass
    assert parents(lab.record) == {"outer": "", "after": ""}
    assert headers["X-Amzn-Trace-Id"] == f"Root={ROOT};Parent={outer.id};Sampled=0;Lineage=a87bd80c:1"


def test_interleaved_requests_keep_to_themselves(lab):
    """Two hundred of them, with tasks, threads, and pools that copy no context."""
    pool = ThreadPoolExecutor(4)

    @xray_recorder.capture_async("awaited")
    async def awaited(name):
        xray_recorder.put_annotation("name", name)
        await asyncio.sleep(0)

    def in_thread(name):
        with xray_recorder.in_subsegment("thread"):
            xray_recorder.put_annotation("name", name)
            xray_recorder.current_segment().put_annotation(f"by_thread_{name}", 1)

    async def serve(name):
        with lab.request():
            xray_recorder.put_annotation("name", name)
            async with xray_recorder.in_subsegment_async("outer"):
                xray_recorder.put_annotation("name", name)
                await asyncio.sleep(0)
                loop = asyncio.get_running_loop()
                await asyncio.gather(awaited(name), loop.run_in_executor(pool, in_thread, name))
                await asyncio.to_thread(in_thread, name)

    async def all_of_them():
        await asyncio.gather(*(serve(name) for name in range(200)))

    asyncio.run(all_of_them())
    pool.shutdown()
    records = lab.records()
    assert len(records) == 200
    for record in records:
        name = record.annotations["name"]
        assert record.annotations == {"name": name, f"by_thread_{name}": 1}
        assert {each.annotations["name"] for each in record.spans} == {name}
        assert sorted(each.name for each in record.spans) == ["awaited", "outer", "thread", "thread"]
        assert parents(record) == {"outer": "", "awaited": "outer", "thread": "outer"}


def test_an_entity_can_be_carried_to_a_thread(lab):
    """As the SDK's documentation has it; when it is cleared there, the thread is in no request."""
    seen = []

    def work(entity):
        xray_recorder.set_trace_entity(entity)
        with xray_recorder.in_subsegment("work"):
            pass
        xray_recorder.clear_trace_entities()
        seen.append(here.here.get())

    with lab.request(), xray_recorder.in_subsegment("outer"):
        of_subsegment = xray_recorder.get_trace_entity()
        of_request = xray_recorder.current_segment()
        for entity in (of_subsegment, of_request):
            thread = threading.Thread(target=work, args=(entity,))
            thread.start()
            thread.join()
        xray_recorder.clear_trace_entities()
        assert xray_recorder.current_subsegment() is None
        assert xray_recorder.current_segment() is of_request
    found = [parents_of(lab.record, each) for each in lab.record.spans if each.name == "work"]
    assert (found, seen) == (["outer", ""], [None, None])


def parents_of(record, span):
    """The name of a span's parent."""
    names = {record.span_id: "", **{each.span_id: each.name for each in record.spans}}
    return names[span.parent_id]


def test_middleware_does_no_harm(lab, emitted, caplog):
    """One segment, not two; its decision is ours; a line says, once, that it can go."""

    class Sampler:
        def should_trace(self, request):
            raise AssertionError("the SDK's sampler was asked")

    xray_recorder.sampler = Sampler()
    xray_recorder.sampling = True
    for _ in range(2):
        with lab.request(UNSAMPLED):
            decision = calculate_sampling_decision(xray_header(), xray_recorder, {})
            segment = xray_recorder.begin_segment(
                name="other", traceid="1-5759e988-000000000000000000000001", sampling=decision
            )
            segment.save_origin_trace_header(xray_header())
            segment.put_http_meta("url", "http://shop/cart")
            segment.put_annotation("a", 1)
            with xray_recorder.in_subsegment("work"):
                pass
            xray_recorder.current_segment().put_http_meta("status", 500)
            xray_recorder.end_segment()
    assert (decision, segment.trace_id, emitted) == (0, ROOT, [])
    for record in lab.records():
        assert (record.annotations, record.exception, parents(record)) == ({"a": 1}, None, {"work": ""})
    assert [line.message for line in caplog.records if line.name == "server_tracing"] == [
        xray.CAN_GO % __name__
    ]


def xray_header():
    """What middleware makes of a request without a header."""
    from aws_xray_sdk.core.models.trace_header import TraceHeader

    return TraceHeader()


def test_a_segment_begun_within_is_a_subsegment(lab, emitted):
    """The first is the request; what the application begins later keeps its name and what is said of it."""
    with lab.request(), xray_recorder.in_segment("api"):
        xray_recorder.put_annotation("of", "request")
        with xray_recorder.in_segment("job") as job:
            job.set_user("ann")
            job.put_annotation("of", "job")
            with xray_recorder.in_subsegment("step"):
                pass
        with xray_recorder.in_subsegment("last"):
            pass
    record = lab.record
    assert parents(record) == {"job": "", "step": "job", "last": ""}
    assert (record.annotations, record.user, emitted) == ({"of": "request"}, "ann", [])
    assert {each.name: each.annotations for each in record.spans}["job"] == {"of": "job"}


def test_outside_of_requests_it_is_as_it_was(lab, emitted, caplog):
    """Segments begun by hand are sent by the SDK; without one it says what it always said."""
    xray_recorder.begin_segment("script")
    with xray_recorder.in_subsegment("work") as work:
        work.put_annotation("a", 1)
    xray_recorder.put_annotation("b", 2)
    xray_recorder.end_segment()
    assert xray_recorder.begin_subsegment("nowhere") is None
    assert [(each["name"], each["annotations"], each["subsegments"][0]["name"]) for each in emitted] == [
        ("script", {"b": 2}, "work")
    ]
    assert "cannot find the current segment" in caplog.text
    assert isinstance(xray_recorder.context, Context)
    assert type(xray_recorder.context) is Context


def test_a_task_that_outlives_its_request_begins_its_own_segments(lab, emitted):
    """What it says of the request comes too late and is counted."""

    async def later(ended):
        await ended.wait()
        with counted() as counts, xray_recorder.in_subsegment("late"):
            xray_recorder.put_annotation("late", 1)
        assert counts.late
        xray_recorder.begin_segment("job")
        with xray_recorder.in_subsegment("step"):
            pass
        xray_recorder.end_segment()

    async def main():
        ended = asyncio.Event()
        with lab.request():
            task = asyncio.create_task(later(ended))
            await asyncio.sleep(0)
        ended.set()
        await task

    asyncio.run(main())
    assert lab.record.spans == []
    assert [each["name"] for each in emitted] == ["job"]


def test_many_annotated_subsegments_leave_room_for_the_requests_own(lab):
    """As of a page with hundreds of queries."""
    with lab.request():
        for number in range(600):
            with xray_recorder.in_subsegment("query") as query:
                query.put_annotation("a", number)
                query.put_annotation("b", number)
        xray_recorder.put_annotation("total", 600)
    record = lab.record
    assert record.annotations == {"total": 600}
    assert [span.annotations for span in record.spans] == [{"a": n, "b": n} for n in range(600)]


def test_what_was_said_is_in_the_journal_when_the_call_returns(lab):
    """A worker that is killed in the next line has said it."""
    with lab.request():
        call = xray_recorder.begin_subsegment("stock", namespace="remote")
        call.put_annotation("item", 3)
        call.put_metadata("cart", [1])
        ((trail,),) = (lab.joined()[1],)
        (span,) = trail.spans.values()
        xray_recorder.end_subsegment()
    assert (span.name, span.kind, span.stop, span.annotations) == ("stock", "client", 0, {"item": 3})
    assert span.metadata == {"metadata": {"default": {"cart": [1]}}}


def test_a_subsegment_left_open_ends_with_its_request(lab):
    """It is nobody's parent in the next one."""
    with lab.request():
        xray_recorder.begin_subsegment("left")
    assert here.here.get() is None
    with lab.request(), xray_recorder.in_subsegment("mine"):
        pass
    first, second = lab.records()
    assert ([each.duration_ms for each in first.spans], parents(second)) == ([None], {"mine": ""})


def test_theirs_and_ours_nest_in_each_other(lab):
    """As the blocks do; ours can be spoken to as a subsegment."""
    with lab.request(), server_tracing.span("ours"):
        current = xray_recorder.current_subsegment()
        current.put_annotation("a", 1)
        assert (current.name, current.parent_segment) == ("ours", xray_recorder.current_segment())
        with xray_recorder.in_subsegment("theirs"), server_tracing.span("inner"):
            pass
    assert parents(lab.record) == {"ours": "", "theirs": "ours", "inner": "theirs"}
    assert {each.name: each.annotations for each in lab.record.spans}["ours"] == {"a": 1}


def test_our_own_threads_tell_of_nothing(lab, emitted, caplog):
    """They use libraries that are instrumented, too."""
    done = threading.Event()

    def work():
        with xray_recorder.in_subsegment("call") as call:
            assert call is xray_recorder.current_subsegment() is None
            xray_recorder.put_annotation("a", 1)
        done.set()

    start_thread(work)
    assert done.wait(10)
    assert (emitted, caplog.text) == ([], "")


def test_the_sdks_own_tasks_take_what_tasks_take_today(lab, emitted):
    """Its context for tasks, which applications configure, sets a factory that knows no keyword."""
    from aws_xray_sdk.core.async_context import AsyncContext

    async def work(name):
        with xray_recorder.in_subsegment(name):
            await asyncio.sleep(0)

    async def main():
        xray_recorder.configure(context=AsyncContext(loop=asyncio.get_running_loop()))
        with lab.request():
            await asyncio.create_task(work("in a request"), name="a")
        xray_recorder.begin_segment("by hand", sampling=1)
        tasks = [asyncio.create_task(work(name), name=name) for name in ("b", "c")]
        if sys.version_info >= (3, 11):
            tasks.append(asyncio.create_task(work("d"), context=contextvars.copy_context()))
        await asyncio.gather(*tasks)
        xray_recorder.end_segment()

    asyncio.run(main())
    assert [each.name for each in lab.record.spans] == ["in a request"]
    (document,) = emitted
    assert {each["name"] for each in document["subsegments"]} >= {"b", "c"}


def test_an_application_may_show_what_it_has(lab):
    """In the SDK's words, without what is ours."""
    with lab.request(HEADER):
        with xray_recorder.in_subsegment("call", namespace="remote") as call:
            call.put_http_meta("status", 200)
            call.add_exception(ValueError("boom"), [], remote=True)
            shown = json.loads(call.serialize())
        segment = json.loads(xray_recorder.current_segment().serialize())
    assert (shown["name"], shown["parent_id"], shown["trace_id"]) == ("call", lab.record.span_id, ROOT)
    assert (shown["http"], shown["fault"]) == ({"response": {"status": 200}}, True)
    assert (segment["id"], segment["trace_id"], segment["in_progress"]) == (lab.record.span_id, ROOT, True)
    assert not {"live", "span", "said", "remote", "begun"} & {*shown, *segment}
    assert lab.record.spans[0].metadata["cause"] == {"remote": True}


@pytest.mark.parametrize("misuse", ["end twice", "close", "end time", "odd", "many"])
def test_misuse_costs_nothing_but_what_was_misused(lab, misuse):
    """Whatever is handed over, nothing is raised that the SDK would not raise, and the request goes on."""

    class Odd:
        def __str__(self):
            raise RuntimeError

    with lab.request():
        if misuse == "end twice":
            with xray_recorder.in_subsegment("a"):
                xray_recorder.end_subsegment()
            xray_recorder.end_segment()
            xray_recorder.end_segment()
        elif misuse == "close":
            with xray_recorder.in_subsegment("a") as a:
                a.close()
        elif misuse == "end time":
            for when in (1e300, float("nan"), 0.001, "never"):
                xray_recorder.begin_subsegment("a").start_time = when
                xray_recorder.end_subsegment(when)
        elif misuse == "odd":
            with xray_recorder.in_subsegment(Odd()) as a:
                a.put_annotation("b", float("nan"))
                a.put_metadata(Odd(), Odd(), "c")
                a.set_sql(Odd())
                a.add_exception("no exception", None)
            xray_recorder.current_segment().set_user(Odd())
        else:
            for _ in range(1500):
                with xray_recorder.in_subsegment("a"):
                    pass
        with xray_recorder.in_subsegment("after"):
            pass
    names = [each.name for each in lab.record.spans]
    assert len(names) == (1000 if misuse == "many" else 5 if misuse == "end time" else 2)
    assert (names[-1] == "after") is (misuse != "many")
    assert all(each.duration_ms is not None and each.duration_ms < 60_000 for each in lab.record.spans)


def test_a_disabled_sdk_does_nothing(lab, emitted):
    """As its own documentation has it: dummies."""
    global_sdk_config.set_sdk_enabled(False)
    try:
        with lab.request():
            with xray_recorder.in_subsegment("work"):
                xray_recorder.put_annotation("a", 1)
            xray_recorder.begin_segment("seg")
            xray_recorder.end_segment()
    finally:
        global_sdk_config.set_sdk_enabled(True)
    assert (lab.record.spans, lab.record.annotations, emitted) == ([], {}, [])


def test_no_garbage_is_left_for_the_collector(lab):
    """Segment and subsegments go with their request."""
    import gc

    with lab.request(), xray_recorder.in_subsegment("warm"):  # makes what is made once in a process
        xray_recorder.put_annotation("a", 1)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            with lab.request(), xray_recorder.in_subsegment("work"):
                xray_recorder.current_segment().put_annotation("a", 1)
        assert gc.collect() < 10
    finally:
        gc.enable()


class TestByHand:
    """Segments outside of requests, where the settings say something about their way."""

    def test_to_the_api_they_go_with_the_exporter(self, lab, emitted):
        """Which takes them when it looks after its things; what fails now is sent later."""
        from server_tracing.export.exporter import ExportError, Setup
        from server_tracing.export.xray.exporter import XRayExporter

        class Transport:
            place, failing, sent = "X-Ray", True, []

            def deliver(self, records, documents):
                if self.failing:
                    raise ExportError("not now")
                self.sent += [json.loads(sheet.data)["name"] for one in records for sheet in documents(one)]

        config = Config(exporters=("xray",), xray=XRay(transport="api", sampling="ratio"))
        before = vars(xray_recorder)["_emitter"]
        try:
            with UDPEmitter()._socket:
                vars(xray_recorder)["_emitter"] = object.__new__(UDPEmitter)
                xray_outside.aim(config)
            with xray_recorder.in_segment("job", sampling=1), xray_recorder.in_subsegment("step"):
                pass
        finally:
            vars(xray_recorder)["_emitter"] = before
        exporter = XRayExporter(Setup(config, {}, "shop", "/"), Transport())
        exporter.tend()
        Transport.failing = False
        exporter.tend()
        exporter.tend()
        assert Transport.sent == ["job"]

    def test_to_the_api_goes_no_number_that_json_does_not_have(self):
        """The SDK writes NaN as it is, and the service refuses the whole document."""
        segment = Segment("job")
        segment.put_annotation("ratio", float("nan"))
        segment.put_metadata("far", [float("inf"), "Infinity and NaN"])
        segment.close()
        xray_outside.Emitter().send_entity(segment)
        (made,) = by_hand.take()
        sent = msgspec.json.decode(made.data)
        assert (made.id, sent["annotations"]) == (segment.id, {"ratio": "NaN"})
        assert sent["metadata"] == {"default": {"far": ["Infinity", "Infinity and NaN"]}}

    def test_to_a_daemon_the_sdk_sends_them(self, monkeypatch):
        """To the one that the settings name."""
        emitter = UDPEmitter()
        monkeypatch.setitem(vars(xray_recorder), "_emitter", emitter)
        xray_outside.aim(Config(exporters=("xray",), xray=XRay(daemon_address="10.0.0.1:2001")))
        with emitter._socket:
            assert (emitter.ip, emitter.port) == ("10.0.0.1", 2001)
