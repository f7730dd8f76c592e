"""Names of operations: `GET /products/<id>`, and never more of them than the service can group by.

Routes are the application's and few; but where nobody knows the routes, the path makes the name, and methods
and paths are written by whoever sends the request. So their number has an end, behind which there is one
name for all others.
"""

from __future__ import annotations

from server_tracing.naming.routeless import routeless_name
from server_tracing.record import Request

from .schema import NAME, cut

MOST = 1000  # names in all
MOST_WITHOUT_ROUTE = 100  # of these, made of paths that no route is known for
OTHER = "(other)"
MALFORMED = "(malformed)"  # nothing of its request line was understood


class Names:
    """Names requests. One thread's."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str | None, str], str] = {}
        self._without = 0
        self._given: dict[str, str] = {}

    def of(self, request: Request) -> str:
        """The name of the operation that a request is."""
        if request.name:
            return self._by_name(request.name)
        if request.route is None:
            return self._by_path(request)
        key = (request.method, request.route)
        return self._routes.get(key) or self._new(key)

    def _new(self, key: tuple[str | None, str]) -> str:
        method, route = key
        if len(self._routes) + len(self._given) >= MOST:
            return OTHER
        self._routes[key] = name = cut(f"{method} {route}" if method else route, NAME) or MALFORMED
        return name

    def _by_name(self, name: str) -> str:
        if name not in self._given and len(self._routes) + len(self._given) < MOST:
            self._given[name] = cut(name, NAME)
        return self._given.get(name, OTHER)

    def _by_path(self, request: Request) -> str:
        if request.path is None:
            return MALFORMED
        key = (request.method, routeless_name(request.path))
        if key not in self._routes:
            if self._without >= MOST_WITHOUT_ROUTE:
                return OTHER
            self._without += 1
        return self._routes.get(key) or self._new(key)

    def __repr__(self) -> str:
        return f"<Names · {len(self._routes)} of routes · {len(self._given)} given>"
