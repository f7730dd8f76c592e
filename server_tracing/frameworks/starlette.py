"""Starlette and FastAPI: the route stands in the scope of those versions that leave it there, else the
application's routes are asked. Exceptions that nobody handles are raised again, and the recorder of ASGI sees
them; those that a handler answers are seen when the handler is looked up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from server_tracing.frameworks import MOUNTED, Asked, Carrier, Note
from server_tracing.frameworks.prefix_index import PrefixIndex, literal_of
from server_tracing.frameworks.resolver import Resolver, UnknownFrameworkError

PARTIAL, FULL = 1, 2  # starlette.routing.Match
DEEPEST = 20
ANYTHING = "/{path}"  # below a mount of something that has no routes, static files for one


def left_in_scope(scope: Carrier) -> str:
    """The format of the route's path, behind the path that a mount took from it."""
    route = scope.get("route")
    if route is None or not hasattr(route, "path_format"):
        return ""
    template: str = route.path_format
    included = scope.get("fastapi")  # newer FastAPI: the prefix of an included router is not the route's
    if included is not None:
        context = included.get("effective_route_context")
        if context is not None and context.original_route is route:
            template = context.path_format
    if "app_root_path" in scope:
        taken = scope["root_path"][len(scope["app_root_path"]) :]
        if hasattr(route, "routes"):  # the mount itself: what it took is its own
            return ""
        return taken + MOUNTED + template if taken else template
    return template


class Routes:
    """The routes of an application or router, and of those mounted below it."""

    by_host = True  # Host routes

    def __init__(self, app: Any, resolver: Resolver) -> None:
        self._app = app
        self._resolver = resolver
        self._indexes: dict[int, tuple[object, int, PrefixIndex[Any]]] = {}

    def version(self) -> object:
        return len(self._app.routes)

    def find(self, asked: Asked) -> str | None:
        scope = {
            "type": "websocket" if asked.websocket else "http",
            "method": asked.method,
            "path": asked.path,
            "root_path": "",
            "headers": [(b"host", asked.host.encode("latin-1", "replace"))],
        }
        return self._below(self._app, scope, asked, DEEPEST)

    def _below(self, app: Any, scope: dict[str, Any], asked: Asked, depth: int) -> str | None:
        """The route among an application's; `asked.path` is what the mounts above have left of the path."""
        other = None
        for route in self._index(app).candidates(asked.path) if depth else ():
            match, child = route.matches(dict(scope))
            if match.value == FULL:
                return self._template(route, {**scope, **child}, behind(child, scope, asked), depth)
            if match.value == PARTIAL:
                other = other or template_of(route)
        return other

    def _template(self, route: Any, scope: dict[str, Any], asked: Asked, depth: int) -> str | None:
        if not hasattr(route, "routes"):
            return template_of(route)
        prefix = "" if hasattr(route, "host_format") else template_of(route).removesuffix(ANYTHING)
        if route.routes:
            below = self._below(route, scope, asked, depth - 1)
        else:
            try:
                below = self._resolver.find(route.app, asked._replace(path=asked.path or "/"))
            except UnknownFrameworkError:
                below = ANYTHING
        return None if below is None else prefix + below

    def _index(self, app: Any) -> PrefixIndex[Any]:
        routes = app.routes
        known = self._indexes.get(id(app))
        if known is None or known[0] is not app or known[1] != len(routes):
            items = ((*literal_of(template_of(route), "{"), route) for route in flat(routes))
            known = self._indexes[id(app)] = (app, len(routes), PrefixIndex(items))
        return known[2]


def behind(child: dict[str, Any], scope: dict[str, Any], asked: Asked) -> Asked:
    """What is asked behind a mount: it lengthens `root_path`; before Starlette 0.33 it cut the path."""
    if "path" in child:
        return asked._replace(path=child["path"])
    if "root_path" in child:
        return asked._replace(path=scope["path"][len(child["root_path"]) :])
    return asked


def flat(routes: Any) -> Iterator[Any]:
    """The routes one by one, also those of routers that newer FastAPI only refers to."""
    for route in routes:
        contexts = getattr(route, "effective_route_contexts", None)
        if contexts is None:
            yield route
        else:
            yield from (context.starlette_route or context for context in contexts())


def template_of(route: Any) -> str:
    """The format of a route's path; "" where it has none: hosts, and routes of other people's making."""
    return str(getattr(route, "path_format", "") or "")


def router(app: Any, resolver: Resolver) -> Routes:
    """The router of a Starlette or FastAPI application."""
    return Routes(app, resolver)


def watch(note: Note) -> None:
    """A handler is looked up for exceptions only. The recorder sees them, too, as the response goes out,
    but not from behind BaseHTTPMiddleware: that is another task. The scope is the caller's."""
    handling: Any = sys.modules.get("starlette._exception_handler")  # from 0.28 on
    lookup = getattr(handling, "_lookup_exception_handler", None)
    if lookup is None:
        return

    def looked_up(handlers: Any, exc: Exception) -> Any:
        handler = lookup(handlers, exc)
        scope = sys._getframe(1).f_locals.get("scope")
        if handler is not None and scope is not None:
            note(scope, exc)
        return handler

    handling._lookup_exception_handler = looked_up
