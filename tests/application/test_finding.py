"""Where applications keep what they say to OpenCensus."""

from __future__ import annotations

import pytest

from server_tracing.application.finding import opencensus_trace

TRACE = {"SAMPLER": "a.b.AlwaysOnSampler()"}


def test_in_flasks_config():
    """Whatever the application is wrapped in."""
    flask = pytest.importorskip("flask")
    app = flask.Flask("shop")
    app.config["OPENCENSUS"] = {"TRACE": TRACE}
    wrapped = lambda environ, start: app(environ, start)  # noqa: E731
    assert list(opencensus_trace(wrapped)) == [(TRACE, "Flask config")]


def test_in_pyramids_settings():
    """Of its registry."""
    config = pytest.importorskip("pyramid.config")
    app = config.Configurator(settings={"OPENCENSUS": {"TRACE": TRACE}}).make_wsgi_app()
    assert list(opencensus_trace(app)) == [(TRACE, "Pyramid settings")]


@pytest.mark.parametrize("odd", [None, "text", {}, {"TRACE": None}, {"TRACE": "text"}, {"LOG": {}}])
def test_something_else_under_that_name_is_nothing(odd):
    """It may be anybody's."""
    flask = pytest.importorskip("flask")
    app = flask.Flask("shop")
    app.config["OPENCENSUS"] = odd
    assert list(opencensus_trace(app)) == []


class FakeExporter:
    """An exporter."""


def test_in_what_flasks_middleware_was_told():
    """But not what it takes where it is told nothing."""
    flask = pytest.importorskip("flask")
    middleware = pytest.importorskip("opencensus.ext.flask.flask_middleware").FlaskMiddleware
    app, exporter = flask.Flask("shop"), FakeExporter()
    middleware(app, exporter=exporter, excludelist_paths=["health"])
    assert list(opencensus_trace(app)) == [
        ({"EXPORTER": exporter, "EXCLUDELIST_PATHS": ["health"]}, "FlaskMiddleware")
    ]


def test_in_what_fastapis_middleware_was_told():
    """Before anybody has called it."""
    fastapi = pytest.importorskip("fastapi")
    middleware = pytest.importorskip("opencensus.ext.fastapi.fastapi_middleware").FastAPIMiddleware
    app, exporter = fastapi.FastAPI(), FakeExporter()
    app.add_middleware(middleware, exporter=exporter)
    assert list(opencensus_trace(app)) == [({"EXPORTER": exporter}, "FastAPIMiddleware")]
