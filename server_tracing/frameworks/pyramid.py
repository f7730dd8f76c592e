"""Pyramid: patterns from its routes mapper; exceptions where it calls an exception view for them."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import wraps
from typing import Any

from server_tracing.frameworks import Asked, Note
from server_tracing.frameworks.prefix_index import PrefixIndex, literal_of
from server_tracing.frameworks.resolver import Resolver

VARIABLES = "{:*%"  # also what is quoted: compared decoded


class Patterns:
    """A Pyramid application's routes. Predicates want a request, which is over: of them only the method's is
    asked. Traversal has no routes."""

    by_host = False

    def __init__(self, app: Any) -> None:
        self._app = app
        self._built: object = None
        self._index: PrefixIndex[Any] = PrefixIndex(())

    def version(self) -> object:
        mapper = self._app.routes_mapper
        return mapper, len(mapper.get_routes()) if mapper is not None else 0

    def find(self, asked: Asked) -> str | None:
        version = self.version()
        if version != self._built:
            self._index, self._built = self._indexed(), version
        for route in self._index.candidates(asked.path):
            if takes(route, asked.method) and route.match(asked.path) is not None:
                return pattern(route)
        return None  # also if only the method is wrong: Pyramid does not know that of any path

    def _indexed(self) -> PrefixIndex[Any]:
        mapper = self._app.routes_mapper
        routes = mapper.get_routes() if mapper is not None else ()
        return PrefixIndex((*literal_of(pattern(route), VARIABLES), route) for route in routes)


def pattern(route: Any) -> str:
    """A route's pattern with the slash that Pyramid leaves to people's taste."""
    return "/" + str(route.pattern).lstrip("/")


def takes(route: Any, method: str) -> bool:
    """Whether the route's own predicate admits the method; its GET includes HEAD."""
    for predicate in route.predicates or ():
        if type(predicate).__name__ == "RequestMethodPredicate":
            return method in predicate.val
    return True


def router(app: Any, resolver: Resolver) -> Patterns:
    """The router of a Pyramid application."""
    return Patterns(app)


def watch(note: Note) -> None:
    """`invoke_exception_view` is called for exceptions only; what it answers is known when it returns."""
    view: Any = sys.modules["pyramid.view"]
    requests = view.ViewMethodsMixin
    invoke = requests.invoke_exception_view

    @wraps(invoke)
    def invoke_exception_view(request: Any, exc_info: Any = None, *rest: Any, **named: Any) -> Any:
        raised: Any = (exc_info or sys.exc_info())[1]
        response = invoke(request, exc_info, *rest, **named)
        with suppress(Exception):  # views answer whatever they like
            if response.status_code >= 500:
                note(request.environ, raised)
        return response

    requests.invoke_exception_view = invoke_exception_view
