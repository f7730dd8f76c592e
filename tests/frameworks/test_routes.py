"""Routes and faults of unedited applications, one request at a time, through WSGI's and ASGI's recorders."""

from __future__ import annotations

from functools import cache

import bottle
import pytest
from framework_kit import Shop, load

from server_tracing.frameworks.bottle import left_in_environ
from server_tracing.record import Outcome

SHOPS = {
    "flask": ("flask_app", "app", "wsgi"),
    "django": ("django_app", "application", "wsgi"),
    "django asgi": ("django_app", "asgi_application", "asgi"),
    "pyramid": ("pyramid_app", "app", "wsgi"),
    "bottle": ("bottle_app", "app", "wsgi"),
    "falcon": ("falcon_app", "app", "wsgi"),
    "falcon asgi": ("falcon_asgi_app", "app", "asgi"),
    "starlette": ("starlette_app", "app", "asgi"),
    "fastapi": ("fastapi_app", "app", "asgi"),
    "litestar": ("litestar_app", "app", "asgi"),
}

USER = {
    "flask": "/users/<int:number>",
    "django": "/users/<int:number>",
    "django asgi": "/users/<int:number>",
    "pyramid": "/users/{number:[0-9]+}",
    "bottle": "/users/<number:int>",
    "falcon": "/users/{number:int}",
    "falcon asgi": "/users/{number:int}",
    "starlette": "/users/{number}",
    "fastapi": "/users/{number}",
    "litestar": "/users/{number}",
}

NESTED = {  # blueprints, includes, prefixes, mounts
    "flask": "/api/v1/orders/<name>/lines/<int:line>",
    "django": "/api/v1/orders/<slug:name>/lines/<int:line>",
    "django asgi": "/api/v1/orders/<slug:name>/lines/<int:line>",
    "bottle": "/api/v1/orders/<name>/lines/<line:int>",
}

CASES = [  # what a shop has besides: method, path, status, route
    ("flask", "GET", "/items/7", 200, "/items/<int:number>"),
    ("flask", "GET", "/slash", 308, "/slash/"),
    ("flask", "POST", "/users/42", 405, "/users/<int:number>"),
    ("flask", "GET", "/users/forty-two", 404, None),
    ("django", "GET", "/items/7", 200, "/items/<int:number>"),
    ("django", "POST", "/items/7", 405, "/items/<int:number>"),
    ("django", "GET", "/slash", 301, "/slash/"),
    ("django", "GET", "/archive/2024/", 200, "/archive/(?P<year>[0-9]{4})/"),
    ("django", "GET", "/de/news/abc", 200, "/de/news/<slug:name>"),
    ("django", "GET", "/en/news/abc", 200, "/en/news/<slug:name>"),
    ("django", "GET", "/forbidden", 403, "/forbidden"),
    ("django", "GET", "/later/3", 200, "/later/<int:number>"),
    ("django asgi", "GET", "/later/3", 200, "/later/<int:number>"),
    ("django asgi", "GET", "/de/news/abc", 200, "/de/news/<slug:name>"),
    ("pyramid", "GET", "/items/7", 200, "/items/{number}"),
    ("pyramid", "POST", "/written/7", 200, "/written/{number}"),
    ("pyramid", "GET", "/written/7", 404, None),
    ("bottle", "POST", "/users/42", 405, "/users/<number:int>"),
    ("bottle", "GET", "/shops/pages/about", 200, "/shops/pages/<name>"),
    ("bottle", "GET", "/files/a.css", 200, "/files/<:re:.*>"),
    ("falcon", "POST", "/users/42", 405, "/users/{number:int}"),
    ("starlette", "POST", "/users/42", 405, "/users/{number}"),
    ("starlette", "GET", "/items/7", 200, "/items/{number}"),
    ("starlette", "GET", "/slash", 307, "/slash/"),
    ("starlette", "GET", "/tenants/t1/orders/a/lines/3", 200, "/tenants/{tenant}/orders/{name}/lines/{line}"),
    ("starlette", "GET", "/files/a.css", 200, "/files/{path}"),
    ("fastapi", "POST", "/users/42", 405, "/users/{number}"),
    ("fastapi", "GET", "/slash", 307, "/slash/"),
    ("fastapi", "GET", "/tenant/people/bob", 200, "/tenant/people/{name}"),
    ("fastapi", "GET", "/tenants/t1/people/bob", 200, "/tenants/{tenant}/people/{name}"),
    ("fastapi", "GET", "/users/forty-two", 422, "/users/{number}"),
    ("fastapi", "GET", "/docs", 200, "/docs"),
    ("litestar", "GET", "/items/7", 200, "/items/{number}"),
    ("litestar", "POST", "/items/7", 405, "/items/{number}"),
    ("litestar", "GET", "/files/a.css", 200, "/files/{path}"),
]


@cache
def shop(name: str) -> Shop:
    module, app, kind = SHOPS[name]
    return Shop(load(module, app), kind)


@pytest.mark.parametrize("name", SHOPS)
def test_a_route_is_the_frameworks_own_pattern(name):
    """Never the path as sent."""
    seen = shop(name).ask("/users/42")
    assert (seen.status, seen.route, seen.outcome, seen.fault) == (200, USER[name], Outcome.OK, None)


@pytest.mark.parametrize("name", SHOPS)
def test_what_stands_in_a_group_of_routes_has_the_groups_prefix(name):
    """Blueprints, included URLs, route prefixes, included routers and mounts in mounts."""
    seen = shop(name).ask("/api/v1/orders/abc/lines/3")
    assert (seen.status, seen.route) == (200, NESTED.get(name, "/api/v1/orders/{name}/lines/{line}"))


@pytest.mark.parametrize("name", SHOPS)
def test_a_path_that_no_route_matches_has_no_route(name):
    """A name made of the path would look like one, and scanners would make up thousands."""
    seen = shop(name).ask("/nowhere/17")
    assert (seen.status, seen.route, seen.fault) == (404, None, None)


@pytest.mark.parametrize("name", SHOPS)
def test_a_404_raised_behind_a_route_has_that_route_and_no_fault(name):
    """It is an answer, not a failure."""
    seen = shop(name).ask("/refused/x")
    variable = USER[name].replace("/users/", "/refused/").replace("number", "name")
    expected = variable.replace("int:", "").replace(":int", "").replace(":[0-9]+", "")
    expected = expected.replace("<name>", "<str:name>") if "django" in name else expected
    assert (seen.status, seen.route, seen.outcome, seen.fault) == (404, expected, Outcome.OK, None)


@pytest.mark.parametrize("name", SHOPS)
def test_a_redirect_is_no_fault(name):
    """Also where it is raised."""
    seen = shop(name).ask("/moved")
    assert (seen.status in (302, 303), seen.route, seen.outcome, seen.fault) == (
        True,
        "/moved",
        Outcome.OK,
        None,
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", SHOPS)
def test_an_exception_the_framework_answered_is_recorded_with_its_cause(name):
    """Type, message, stack and chain, of a response that the server saw nothing wrong with."""
    seen = shop(name).ask("/fault")
    assert (seen.status, seen.route, seen.outcome) == (500, "/fault", Outcome.ERROR)
    assert seen.fault is not None
    assert (seen.fault.type, seen.fault.message) == ("ValueError", "no such thing")
    assert seen.fault.frames[-1].path.endswith("_app.py")
    assert seen.fault.cause is not None
    assert (seen.fault.cause.type, seen.fault.explicit) == ("KeyError", True)


@pytest.mark.parametrize(("name", "method", "path", "status", "route"), CASES)
def test_a_shops_other_routes(name, method, path, status, route):
    """Classes, languages, slashes, methods, regular expressions, hosts and mounts of several kinds."""
    seen = shop(name).ask(path, method)
    assert (seen.status, seen.route, seen.fault) == (status, route, None)


def test_a_route_of_one_host_is_found_under_that_host_only():
    """The same path is a 404 elsewhere."""
    assert shop("starlette").ask("/people/bob", host="admin.test").route == "/people/{name}"
    assert shop("starlette").ask("/people/bob").route is None


@pytest.mark.parametrize("name", ["falcon asgi", "starlette", "fastapi", "litestar"])
def test_a_websocket_has_a_route(name):
    """As any request."""
    seen = shop(name).talk("/talk/bob")
    assert (seen.status, seen.route, seen.fault) == (101, "/talk/{name}", None)


def test_a_websocket_that_a_framework_closed_for_an_exception_has_it_recorded():
    """Litestar says so with a close code; a path without a route is refused the same way, and is no fault."""
    broken = shop("litestar").talk("/break/bob")
    assert (broken.route, broken.outcome) == ("/break/{name}", Outcome.ERROR)
    assert broken.fault is not None
    assert broken.fault.message == "kept from the server"
    nowhere = shop("litestar").talk("/nowhere")
    assert (nowhere.route, nowhere.outcome, nowhere.fault) == (None, Outcome.OK, None)


@pytest.mark.parametrize("name", ["flask", "starlette", "fastapi"])
def test_an_exception_that_a_handler_answers_with_a_5xx_is_recorded(name):
    """The client got an error, so somebody will ask why."""
    seen = shop(name).ask("/handled")
    assert (seen.status, seen.outcome) == (503, Outcome.ERROR)
    assert seen.fault is not None
    assert (seen.fault.type, seen.fault.message) == ("LookupError", "kept from the server")


def test_what_a_mount_of_bottle_leaves_behind_is_no_prefix() -> None:
    """After its mounts, Bottle says `/` where it means that nothing is above."""
    route = bottle.Route(bottle.Bottle(), "/files/<name>", "GET", lambda name: name)
    environ = {
        "bottle.route": route,
        "SCRIPT_NAME": "/",
        "PATH_INFO": "/files/a",
        "bottle.raw_path": "/files/a",
    }
    assert left_in_environ(environ) == "/files/<name>"
