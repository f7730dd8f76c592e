"""OpenCensus' middlewares, left installed: Flask's, Pyramid's and FastAPI's, in and out of order."""

from __future__ import annotations

import asyncio

import pytest
from inside_kit import Lab

from server_tracing.inside import here

pytest.importorskip("opencensus.ext.azure")
from opencensus.common.runtime_context import RuntimeContext
from opencensus.trace import execution_context, samplers
from opencensus.trace.base_exporter import Exporter
from opencensus.trace.tracer import Tracer

from server_tracing.inside import opencensus, opencensus_spans

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # OpenCensus'


class Silent(Exporter):
    """An exporter of which nothing is known."""

    def __init__(self):
        self.names = []

    def export(self, span_datas):
        self.names += [span.name for span in span_datas]


@pytest.fixture(scope="module", autouse=True)
def followed():
    """OpenCensus as it was, for whoever comes next."""
    slots = RuntimeContext._slots
    before = dict(slots)
    opencensus.follow(Lab().host)
    yield
    slots.update(before)
    execution_context._tracer_slot = before["tracer"]
    execution_context._current_span_slot = before["current_span"]
    del Tracer.tracer, Tracer.span_context


@pytest.fixture
def lab(monkeypatch):
    """A worker, with nothing current."""
    monkeypatch.setattr(here, "companion", None)
    monkeypatch.setattr(opencensus_spans, "_told_that_it_can_go", False)
    execution_context.clear()
    return Lab()


def work():
    """What views do."""
    tracer = execution_context.get_opencensus_tracer()
    tracer.add_attribute_to_current_span("customer", 17)
    with tracer.span("work"):
        pass


def flask_client(exporter):
    flask = pytest.importorskip("flask")
    middleware = pytest.importorskip("opencensus.ext.flask.flask_middleware").FlaskMiddleware
    app = flask.Flask("shop")
    middleware(app, sampler=samplers.AlwaysOnSampler(), exporter=exporter)

    @app.route("/ok")
    def ok():
        work()
        return "ok"

    @app.route("/fail")
    def fail():
        work()
        raise KeyError("no such thing")

    return app


def pyramid_client(exporter):
    config = pytest.importorskip("pyramid.config")
    pytest.importorskip("opencensus.ext.pyramid")
    from pyramid.response import Response

    trace = {"SAMPLER": samplers.AlwaysOnSampler(), "EXPORTER": exporter}
    made = config.Configurator(settings={"OPENCENSUS": {"TRACE": trace}})
    made.add_tween("opencensus.ext.pyramid.pyramid_middleware.OpenCensusTweenFactory")

    def ok(request):
        work()
        return Response("ok")

    def fail(request):
        work()
        raise KeyError("no such thing")

    for name, view in (("ok", ok), ("fail", fail)):
        made.add_route(name, f"/{name}")
        made.add_view(view, route_name=name)
    return made.make_wsgi_app()


@pytest.mark.parametrize("make", [flask_client, pyramid_client])
def test_one_request_and_a_line_that_says_it_can_go(make, lab, caplog):
    """Also after an exception, which leaves Pyramid's tracer as it was."""
    from werkzeug.test import Client

    exporter = Silent()
    client = Client(make(exporter))
    for path in ("/ok", "/fail", "/ok"):
        with lab.request():
            try:
                client.get(path)
            except KeyError:
                assert path == "/fail"
    for record in lab.records():
        assert record.annotations == {"customer": 17}
        assert [(span.name, span.parent_id) for span in record.spans] == [("work", record.span_id)]
    lines = [line.message for line in caplog.records if line.name == "server_tracing"]
    name = make.__name__.partition("_")[0]
    assert lines == [opencensus_spans.CAN_GO % f"opencensus.ext.{name}.{name}_middleware"]


def test_the_same_in_fastapi(lab, caplog):
    """With its middleware for ASGI, and two requests at once."""
    fastapi = pytest.importorskip("fastapi")
    middleware = pytest.importorskip("opencensus.ext.fastapi.fastapi_middleware").FastAPIMiddleware
    app = fastapi.FastAPI()
    app.add_middleware(middleware, sampler=samplers.AlwaysOnSampler(), exporter=Silent())

    @app.get("/ok")
    async def ok():
        work()
        await asyncio.sleep(0)
        work()
        return "ok"

    async def serve():
        scope = {
            "type": "http", "method": "GET", "path": "/ok", "raw_path": b"/ok", "query_string": b"",
            "headers": [(b"host", b"shop")], "http_version": "1.1", "scheme": "http", "client": ("::1", 1),
            "server": ("shop", 80), "root_path": "",
        }  # fmt: skip
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        with lab.request():
            await app(scope, receive, send)
        assert sent[0]["status"] == 200

    async def all_of_them():
        await asyncio.gather(*(asyncio.create_task(serve()) for _ in range(20)))

    asyncio.run(all_of_them())
    for record in lab.records():
        assert record.annotations == {"customer": 17}
        assert [(span.name, span.parent_id) for span in record.spans] == [("work", record.span_id)] * 2
    lines = [line.message for line in caplog.records if line.name == "server_tracing"]
    assert lines == [opencensus_spans.CAN_GO % "opencensus.ext.fastapi.fastapi_middleware"]
