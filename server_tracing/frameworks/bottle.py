"""Bottle: leaves the route in the environment. Its exceptions go to `wsgi.errors` and `start_response`, where
the server's side sees them (capture/swallowed.py)."""

from __future__ import annotations

import sys
from typing import Any

from server_tracing.frameworks import Asked, Carrier
from server_tracing.frameworks.resolver import Resolver

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "ANY")


def left_in_environ(environ: Carrier) -> str:
    """The rule of the route that was called."""
    route = environ.get("bottle.route")
    return "" if route is None else route.rule


class Rules:
    """A Bottle application's router."""

    by_host = False

    def __init__(self, app: Any) -> None:
        self._app = app
        self._refusal: Any = sys.modules["bottle"].HTTPError

    def version(self) -> object:
        return len(self._app.routes)

    def find(self, asked: Asked) -> str | None:
        found = self._match(asked.method, asked.path)
        if isinstance(found, str):
            return found
        others = (self._match(method, asked.path) for method in METHODS) if found == 405 else ()
        return next((rule for rule in others if isinstance(rule, str)), None)

    def _match(self, method: str, path: str) -> str | int:
        """The rule, or the status of Bottle's refusal."""
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path}
        try:
            return str(self._app.router.match(environ)[0].rule)
        except self._refusal as refusal:
            return int(refusal.status_code)


def router(app: Any, resolver: Resolver) -> Rules:
    """The router of a Bottle application."""
    return Rules(app)
