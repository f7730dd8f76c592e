"""Applications behind the middleware that people put in front of them."""

from __future__ import annotations

from importlib import import_module

import pytest
from framework_kit import Shop, load

FLASK, DJANGO, STARLETTE = "/users/<int:number>", "/users/<int:number>", "/users/{number}"


def whitenoise():
    return pytest.importorskip("whitenoise").WhiteNoise(load("flask_app"))


def proxy_fix():
    fixes = pytest.importorskip("werkzeug.middleware.proxy_fix")
    return fixes.ProxyFix(load("flask_app"), x_prefix=1)


def instance_attribute():
    """As Flask's documentation puts middleware in."""
    fixes = pytest.importorskip("werkzeug.middleware.proxy_fix")
    flask = pytest.importorskip("flask")
    app = flask.Flask("documented")
    app.add_url_rule("/users/<int:number>", "user", lambda number: "user")
    app.wsgi_app = fixes.ProxyFix(app.wsgi_app)
    return app


def plain_function():
    inner = load("django_app", "application")

    def application(environ, start_response):
        environ["HTTP_X_FORWARDED_PROTO"] = "https"
        return inner(environ, start_response)

    return application


def cors():
    middleware = pytest.importorskip("starlette.middleware.cors")
    return middleware.CORSMiddleware(load("starlette_app"), allow_origins=["*"])


def plain_coroutine():
    inner = load("fastapi_app")

    async def application(scope, receive, send):
        await inner(scope, receive, send)

    return application


@pytest.mark.parametrize(
    ("make", "kind", "route"),
    [
        (whitenoise, "wsgi", FLASK),
        (proxy_fix, "wsgi", FLASK),
        (instance_attribute, "wsgi", FLASK),
        (plain_function, "wsgi", DJANGO),
        (cors, "asgi", STARLETTE),
        (plain_coroutine, "asgi", STARLETTE),
    ],
)
def test_middleware_hides_no_route(make, kind, route):
    """Nor does it make one up for a path that has none."""
    shop = Shop(make(), kind)
    assert shop.ask("/users/42").route == route
    assert shop.ask("/nowhere/17").route is None


def test_applications_below_prefixes_are_found_through_a_dispatcher():
    """Of whatever framework; the prefix is part of the route."""
    dispatcher = pytest.importorskip("werkzeug.middleware.dispatcher")
    mounts = {"/django": load("django_app", "application"), "/falcon": load("falcon_app")}
    mounts |= {"/bottle": load("bottle_app"), "/plain": import_module("plain_app").app}
    shop = Shop(dispatcher.DispatcherMiddleware(load("flask_app"), mounts), "wsgi")
    assert shop.ask("/users/42").route == FLASK
    assert shop.ask("/django/users/42").route == "/django/users/<int:number>"
    assert shop.ask("/falcon/users/42").route == "/falcon/users/{number:int}"
    assert shop.ask("/bottle/users/42").route == "/bottle/users/<number:int>"
    assert shop.ask("/django/nowhere").route is None
    assert shop.ask("/plain/users/4711").route == "/plain/users/{id}"


def test_a_framework_mounted_in_another_is_asked_too():
    """Django in Starlette, say, below a prefix."""
    applications = pytest.importorskip("starlette.applications")
    routing = pytest.importorskip("starlette.routing")
    inner = load("django_app", "asgi_application")
    shop = Shop(applications.Starlette(routes=[routing.Mount("/legacy", app=inner)]), "asgi")
    seen = shop.ask("/legacy/users/42")
    assert (seen.status, seen.route) == (200, "/legacy/users/<int:number>")
    assert shop.ask("/legacy/nowhere").route is None
    assert shop.ask("/legacy/fault").fault.type == "ValueError"


def test_a_urlconf_that_is_replaced_is_noticed(monkeypatch):
    """As autoreloaders and tests of applications do it."""
    application = load("django_app", "application")
    urls = pytest.importorskip("django.urls")
    conf = pytest.importorskip("django.conf")
    shop = Shop(application, "wsgi")
    assert shop.ask("/users/42").route == DJANGO
    monkeypatch.setattr(conf.settings, "ROOT_URLCONF", ())
    urls.clear_url_caches()
    try:
        assert shop.ask("/users/42").route is None
    finally:
        monkeypatch.undo()
        urls.clear_url_caches()


@pytest.mark.parametrize("framework", ["django", "pyramid", "starlette"])
def test_of_many_routes_few_are_tried(framework, monkeypatch):
    """Ten thousand, say (Pyramid takes a second for a hundred); whatever the router does with them."""
    tried = []
    shop, pattern = LARGE[framework](tried, monkeypatch)
    route = shop.routes.route("", "GET", "/r654/42/", "", False, 200)
    assert route == pattern
    assert len(tried) < 50


def large_django(tried, monkeypatch):
    application = load("django_app", "application")
    urls = pytest.importorskip("django.urls")
    resolvers = pytest.importorskip("django.urls.resolvers")
    conf = pytest.importorskip("django.conf")
    match = resolvers.RoutePattern.match
    patterns = [urls.path(f"r{number}/<int:x>/", print) for number in range(10_000)]
    monkeypatch.setattr(conf.settings, "ROOT_URLCONF", tuple(patterns))
    urls.resolve("/r1/1/")  # loads them, as a first request does
    monkeypatch.setattr(
        resolvers.RoutePattern, "match", lambda self, path: (tried.append(self), match(self, path))[1]
    )
    return Shop(application, "wsgi"), "/r654/<int:x>/"


def large_pyramid(tried, monkeypatch):
    load("pyramid_app")
    from pyramid.config import Configurator

    config = Configurator()
    for number in range(1_000):
        config.add_route(f"r{number}", f"/r{number}/{{x}}/")
    app = config.make_wsgi_app()
    for route in app.routes_mapper.get_routes():
        route.match = lambda path, match=route.match: (tried.append(path), match(path))[1]
    return Shop(app, "wsgi"), "/r654/{x}/"


def large_starlette(tried, monkeypatch):
    applications = pytest.importorskip("starlette.applications")
    routing = pytest.importorskip("starlette.routing")

    class Counted(routing.Route):
        def matches(self, scope):
            tried.append(self)
            return super().matches(scope)

    routes = [Counted(f"/r{number}/{{x}}/", print) for number in range(10_000)]
    return Shop(applications.Starlette(routes=routes), "asgi"), "/r654/{x}/"


LARGE = {
    "django": large_django,
    "pyramid": large_pyramid,
    "starlette": large_starlette,
}
