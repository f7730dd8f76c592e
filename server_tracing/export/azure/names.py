"""Names of operations: `GET /products/<id>`, and never more of them than the service can group by.

Routes are the application's and few; but where nobody knows the routes, the path makes the name, and methods
and paths are written by whoever sends the request. So their number has an end, behind which there is one
name for all others; and what is not found takes little of it, or a scanner would leave nothing to the rest.
"""

from __future__ import annotations

from server_tracing.naming.routeless import routeless_name
from server_tracing.record import Request

from .schema import NAME, cut

MOST = 1000  # names in all
MOST_OF_PATHS = 500  # of these, made of paths, as far as one can tell: routes without variables look the same
MOST_NOT_FOUND = 100  # and of these, answered with 404 when they were first asked for
OTHER = "(other)"
MALFORMED = "(malformed)"  # nothing of its request line was understood
HTTP = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"))
WEBDAV = frozenset(("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH"))
METHODS = HTTP | WEBDAV | {"PURGE"}


class Names:
    """Names requests. One thread's."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str | None, str | None], str] = {}
        self._given: dict[str, str] = {}
        self._of_paths = 0
        self._not_found = 0

    def of(self, request: Request) -> str:
        """The name of the operation that a request is."""
        if request.name:
            return self._by_name(request.name)
        if request.route is None:
            return (
                MALFORMED if request.path is None else self._by_route(request, routeless_name(request.path))
            )
        return self._by_route(request, request.route)

    def _by_name(self, name: str) -> str:
        if name not in self._given and self._have_room:
            self._given[name] = cut(name, NAME)
        return self._given.get(name, OTHER)

    def _by_route(self, request: Request, route: str) -> str:
        known = self._routes.get((request.method, route))
        if known is not None:
            return known
        method = request.method if request.method in METHODS or not request.method else OTHER
        key = (method, route)
        if key not in self._routes:
            if not self._have_room or not self._takes_a_place(request, route):
                return OTHER
            self._routes[key] = cut(f"{method} {route}" if method else route, NAME) or MALFORMED
        return self._routes[key]

    def _takes_a_place(self, request: Request, route: str) -> bool:
        """Is there a place for this route, if it is a path? Then it is taken."""
        if request.path is None or route != routeless_name(request.path):
            return True
        not_found = request.status == 404
        if self._of_paths >= MOST_OF_PATHS or (not_found and self._not_found >= MOST_NOT_FOUND):
            return False
        self._of_paths += 1
        self._not_found += not_found
        return True

    @property
    def _have_room(self) -> bool:
        return len(self._routes) + len(self._given) < MOST

    def __repr__(self) -> str:
        return f"<Names · {len(self._routes)} of routes · {len(self._given)} given>"
