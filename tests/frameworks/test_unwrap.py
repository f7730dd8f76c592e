"""Whatever a server was given, the framework's application inside is found, and nothing of it is run."""

from __future__ import annotations

from functools import partial, wraps

import pytest

from server_tracing.frameworks.unwrap import MOST_OBJECTS, applications_in

flask = pytest.importorskip("flask")
app = flask.Flask("shop")


class Middleware:
    """Whitenoise calls it `application`, werkzeug and starlette `app`, asgiref `wsgi_application`."""

    def __init__(self, name, wrapped):
        setattr(self, name, wrapped)

    def __call__(self, environ, start_response):
        raise AssertionError("called")


class Slotted:
    __slots__ = ("app", "other")

    def __init__(self, wrapped):
        self.app = wrapped


class Proxy:
    """Answers every question about itself."""

    def __getattr__(self, name):
        raise AssertionError(f"asked for {name}")


class Named:
    """Calls a global."""

    def __call__(self, environ, start_response):
        return app(environ, start_response)


def plain(environ, start_response):
    return app(environ, start_response)


def enclosing(wrapped):
    def inner(environ, start_response):
        return wrapped(environ, start_response)

    return inner


@wraps(app)
def decorated(environ, start_response):
    raise AssertionError("called")


WRAPPED = {
    "itself": app,
    "its wsgi_app": app.wsgi_app,
    "middleware": Middleware("application", Middleware("wsgi_app", app)),
    "under a name of its own": Middleware("shop", app),
    "slots": Slotted(app),
    "a plain function": plain,
    "a closure": enclosing(enclosing(app)),
    "a decorator": decorated,
    "a partial": partial(plain, start_response=None),
    "a table of applications": Middleware("application_mapping", {"http": app}),
    "an object that calls a global": Named(),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_an_application_is_found_in(how):
    """Middleware does not hide it."""
    assert [(framework.name, found) for framework, found in applications_in(WRAPPED[how])] == [("flask", app)]


def test_two_applications_behind_one_function_are_both_found():
    """Whichever answers a path may be asked."""
    other = flask.Flask("other")

    def choosing(environ, start_response):
        return (app if environ else other)(environ, start_response)

    globals()["chosen"] = app
    found = [found for _, found in applications_in(choosing)]
    assert found[0] is other or other in found
    assert app in found


@pytest.mark.parametrize(
    "nothing",
    [None, 1, "app", print, Proxy(), flask.request, Middleware("app", None), object, {}, lambda: 0],
    ids=range(10),
)
def test_where_no_application_is_none_is_found(nothing):
    """And nobody's attributes, properties or code are run."""
    assert applications_in(nothing) == []


def test_a_cell_that_is_empty_is_passed_over():
    """As in a function whose application is only being made."""

    def early(environ):
        return late(environ)

    assert applications_in(early) == []
    late = app
    assert [found for _, found in applications_in(early)] == [app]


def test_a_circle_ends():
    """Objects hold each other."""
    first, second = Middleware("app", None), Middleware("app", None)
    first.app, second.app = second, first
    assert applications_in(first) == []


def test_the_search_is_bounded():
    """However much a function names."""
    table = {number: Middleware("app", None) for number in range(10 * MOST_OBJECTS)}
    assert applications_in(Middleware("application_mapping", {**table, "last": app})) == []
