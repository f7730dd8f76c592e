"""Routes where asking costs, fails or becomes outdated."""

from __future__ import annotations

import pytest

from server_tracing.export.routes import BURST_NS, FREE_NS, LOOK_EVERY_NS, MOST_REMEMBERED, Routes
from server_tracing.frameworks import MOUNTED, Served


class Clock:
    """Nanoseconds, moved by hand."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


class Router:
    """Knows /known/<n>, and counts how often it was asked."""

    by_host = False

    def __init__(self):
        self.asked = []
        self.generation = 0
        self.pattern = "/known/{n}"
        self.error = None
        self.takes = 0
        self.processor = Clock()

    def version(self):
        return self.generation

    def find(self, asked):
        self.asked.append(asked)
        self.processor.now += self.takes
        if self.error:
            raise self.error
        return self.pattern if asked.path.startswith("/known/") else None


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def router():
    return Router()


@pytest.fixture
def routes(router, clock):
    found = Routes(lambda: [Served(router)], clock=clock, processor=router.processor)
    found._resolver.routers = lambda app: [app]  # the one thing that is not a framework's
    return found


def ask(routes, path, left="", status=200, method="GET", host="test", websocket=False):
    return routes.route(left, method, path, host, websocket, status)


def test_what_the_framework_left_is_not_asked_for(routes, router):
    """It knows better."""
    assert ask(routes, "/known/1", left="/left/{n}") == "/left/{n}"
    assert router.asked == []


def test_an_answer_is_remembered(routes, router):
    """Also that there is none."""
    for _ in range(3):
        assert ask(routes, "/known/1") == "/known/{n}"
        assert ask(routes, "/unknown") is None
    assert len(router.asked) == 2


def test_methods_and_sockets_are_asked_for_apart(routes, router):
    """Their routes differ."""
    for how in ({}, {"method": "POST"}, {"websocket": True}):
        ask(routes, "/known/1", **how)
    assert len(router.asked) == 3


def test_hosts_are_asked_for_apart_only_where_they_matter(routes, router, clock):
    """Else whoever makes up hosts fills the memory."""
    ask(routes, "/known/1", host="a")
    ask(routes, "/known/1", host="b")
    assert len(router.asked) == 1
    router.by_host = True
    clock.now += LOOK_EVERY_NS
    ask(routes, "/known/1", host="a")
    ask(routes, "/known/1", host="b")
    assert [asked.host for asked in router.asked] == ["a", "a", "b"]


def test_what_is_remembered_is_bounded(routes):
    """By number; a path too long to be sensible is not even asked for."""
    for number in range(MOST_REMEMBERED + 10):
        ask(routes, f"/known/{number}")
    assert len(routes._answers) <= MOST_REMEMBERED
    assert ask(routes, "/known/" + "x" * 5000) == "/known/{id}"


def test_routes_that_come_and_go_are_noticed(routes, router, clock):
    """A reloaded URL configuration forgets what was remembered."""
    assert ask(routes, "/known/1") == "/known/{n}"
    router.generation, router.pattern = 1, "/known/{number}"
    clock.now += LOOK_EVERY_NS
    assert ask(routes, "/known/1") == "/known/{number}"


def test_a_router_that_raises_costs_the_route(routes, router):
    """The name is then made of the path, as for a framework nobody knows."""
    router.error = RuntimeError("routes are being loaded")
    assert ask(routes, "/known/4711") == "/known/{id}"
    router.error = None
    assert ask(routes, "/known/4711") == "/known/{n}"


def test_a_slow_router_gets_a_share_of_the_time(routes, router, clock):
    """What is over it has a name made of the path, and the interpreter belongs to the requests."""
    router.takes = BURST_NS + FREE_NS
    assert ask(routes, "/known/4711") == "/known/{n}"
    assert ask(routes, "/known/4712") == "/known/{id}"
    assert ask(routes, "/known/4711") == "/known/{n}"  # remembered
    clock.now += BURST_NS
    assert ask(routes, "/known/4712") == "/known/{n}"


def test_a_usual_router_is_asked_as_often_as_need_be(routes, router):
    """However many requests there are: a pattern now and a name then would be two lines of a table."""
    router.takes = FREE_NS
    for number in range(2000):
        assert ask(routes, f"/known/{number}") == "/known/{n}"


def test_a_path_is_decoded_before_it_is_asked_for(routes, router):
    """As servers do it."""
    ask(routes, "/known/a%20b%C3%A4")
    assert router.asked[0].path == "/known/a bä"


def test_a_redirect_for_a_slash_has_the_route_it_leads_to(routes):
    """The router knows that route; a plain 404 has none."""
    assert ask(routes, "/known", status=308) == "/known/{n}"
    assert ask(routes, "/known", status=404) is None
    assert ask(routes, "/elsewhere", status=302) is None


def test_what_the_server_puts_before_a_path_is_not_the_routers_business(router, clock):
    """gunicorn's SCRIPT_NAME, uvicorn's --root-path; what does not begin with it is asked for as it is."""
    routes = Routes(lambda: [Served(router, "/shop")], clock=clock)
    routes._resolver.routers = lambda app: [app]
    assert ask(routes, "/shop/known/1") == "/known/{n}"
    assert ask(routes, "/shopping/known/1") is None
    assert [asked.path for asked in router.asked] == ["/known/1", "/shopping/known/1"]


def test_below_a_mount_the_router_is_asked_for_the_whole(routes, router):
    """What the mount took is known only as it was sent."""
    assert ask(routes, "/known/1/x", left=f"/known/1{MOUNTED}/x") == "/known/{n}"
    assert ask(routes, "/tenants/4711/x", left=f"/tenants/4711{MOUNTED}/x") == "/tenants/{id}/x"


def test_an_unknown_framework_has_names_made_of_paths():
    """Unless that is not wanted."""
    assert ask(Routes(), "/users/4711") == "/users/{id}"
    assert ask(Routes(derive=False), "/users/4711") is None
    assert ask(Routes(lambda: [Served(print)]), "/users/4711", status=404) == "/users/{id}"


def test_its_repr_says_what_it_knows(routes):
    """For whoever looks at a worker."""
    ask(routes, "/known/1")
    assert repr(routes) == "<Routes of 1 routers · 1 remembered>"
