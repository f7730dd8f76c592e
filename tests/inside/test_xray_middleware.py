"""The X-Ray SDK's middlewares, left installed: Flask's and Bottle's, in and out of order."""

from __future__ import annotations

import json

import pytest
from inside_kit import Lab

from server_tracing.config import Config
from server_tracing.inside import here

pytest.importorskip("aws_xray_sdk")
pytest.importorskip("flask")
pytest.importorskip("bottle")
import bottle
import flask
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.context import Context
from aws_xray_sdk.core.recorder import AWSXRayRecorder
from werkzeug.test import Client

from server_tracing.inside import xray


class Emitted(list):
    """What the SDK itself would have sent."""

    def send_entity(self, entity):
        self.append(json.loads(entity.serialize()))


@pytest.fixture(scope="module", autouse=True)
def followed():
    """The recorder's class as it was, for whoever comes next; and what the middlewares patch."""
    import flask.templating

    before, render = dict(vars(AWSXRayRecorder)), (flask.templating._render, bottle.SimpleTemplate.render)
    xray.follow(Lab(Config(exporters=("xray",))).host)
    yield
    flask.templating._render, bottle.SimpleTemplate.render = render
    for name in set(vars(AWSXRayRecorder)) - set(before):
        delattr(AWSXRayRecorder, name)
    for name in xray._original:
        setattr(AWSXRayRecorder, name, before[name])
    xray._original.clear()


@pytest.fixture
def sent(monkeypatch):
    """The SDK, with nothing current."""
    monkeypatch.setattr(here, "companion", None)
    monkeypatch.setattr(xray, "_told_that_it_can_go", False)
    monkeypatch.setitem(vars(xray_recorder), "_context", Context())
    monkeypatch.setitem(vars(xray_recorder), "_emitter", emitted := Emitted())
    monkeypatch.setitem(vars(xray_recorder), "_service", "theirs")
    return emitted


def flask_app():
    from aws_xray_sdk.ext.flask.middleware import XRayMiddleware

    app = flask.Flask("shop")

    @app.before_request
    def answer_early():
        return ("early", 418) if flask.request.path == "/early" else None

    XRayMiddleware(app, xray_recorder)

    @app.route("/ok")
    def ok():
        xray_recorder.put_annotation("of", "request")
        return flask.render_template_string("hello")

    @app.route("/fail")
    def fail():
        raise KeyError("no such thing")

    return app


def bottle_app():
    from aws_xray_sdk.ext.bottle.middleware import XRayMiddleware

    app = bottle.Bottle()
    app.install(XRayMiddleware(xray_recorder))

    @app.route("/ok")
    def ok():
        xray_recorder.put_annotation("of", "request")
        return bottle.SimpleTemplate("hello").render()

    @app.route("/fail")
    def fail():
        raise KeyError("no such thing")

    return app


@pytest.mark.parametrize("make", [flask_app, bottle_app])
def test_one_segment_and_a_line_that_says_it_can_go(make, sent, caplog):
    """Whatever becomes of the request; its header has our trace."""
    lab, client = Lab(Config(exporters=("xray",))), Client(make())
    for path in ("/ok", "/fail", "/ok"):
        with lab.request() as slot:
            try:
                response = client.get(path)
            except KeyError:  # what werkzeug's client makes of Bottle's page for it
                assert path == "/fail"
            trace_id = slot.live.trace_id
    assert response.headers["X-Amzn-Trace-Id"] == f"Root=1-{trace_id[:8]}-{trace_id[8:]}"
    assert sent == []
    records = lab.records()
    assert [record.annotations for record in records] == [{"of": "request"}, {}, {"of": "request"}]
    assert [len(records[number].spans) for number in (0, 2)] == [1, 1]
    lines = [line.message for line in caplog.records if line.name == "server_tracing"]
    assert lines == [xray.CAN_GO % f"aws_xray_sdk.ext.{make.__name__[:-4]}.middleware"]


def test_an_exception_that_became_an_answer_is_no_failure(sent):
    """The SDK's middleware takes every 404 for one; what the application itself says counts."""
    app, lab = bottle_app(), Lab(Config(exporters=("xray",)))

    @app.route("/missing")
    def missing():
        bottle.abort(404)

    @app.route("/said")
    def said():
        xray_recorder.current_segment().add_exception(KeyError("minded"), [])
        return "all the same"

    client = Client(app)
    for path in ("/missing", "/said"):
        with lab.request():
            client.get(path)
    missed, minded = lab.records()
    assert missed.exception is None
    assert minded.exception.type == "KeyError"


def test_an_answer_before_the_middleware_is_no_500(sent):
    """The SDK's own middleware would find no segment and raise."""
    with Lab(Config(exporters=("xray",))).request():
        assert Client(flask_app()).get("/early").status_code == 418
