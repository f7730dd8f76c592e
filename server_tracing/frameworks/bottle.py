"""Bottle: leaves the route in the environment. Its exceptions go to `wsgi.errors` and `start_response`, where
the server's side sees them (capture/swallowed.py)."""

from __future__ import annotations

import sys
from typing import Any

from server_tracing.frameworks import MOUNTED, Asked, Carrier
from server_tracing.frameworks.resolver import Resolver, UnknownFrameworkError

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "ANY")


def left_in_environ(environ: Carrier) -> str:
    """The rule of the route that was called, behind what mounts took from the path: others for good, Bottle's
    own for a while."""
    route = environ.get("bottle.route")
    if route is None:
        return ""
    rule: str = route.rule
    taken: str = environ.get("SCRIPT_NAME", "").rstrip("/")  # "/" is what a mount of Bottle leaves for ""
    path, inner = environ["PATH_INFO"], environ["bottle.raw_path"]
    if path != inner:
        inner = inner.encode("latin-1").decode("utf-8", "ignore")
        if path != inner and path.endswith(inner):
            taken += path[: -len(inner)]
    return taken + MOUNTED + rule if taken else rule


class Rules:
    """A Bottle application's router."""

    by_host = False

    def __init__(self, app: Any, resolver: Resolver) -> None:
        self._app = app
        self._resolver = resolver
        bottle: Any = sys.modules["bottle"]
        self._refusal = bottle.HTTPError

    def version(self) -> object:
        return len(self._app.routes)

    def find(self, asked: Asked) -> str | None:
        for method in (asked.method, *METHODS):
            try:
                route, _ = self._app.router.match({"REQUEST_METHOD": method, "PATH_INFO": asked.path})
            except self._refusal as refusal:
                if refusal.status_code != 405:
                    return None
            else:
                return self._template(route, asked)
        return None

    def _template(self, route: Any, asked: Asked) -> str | None:
        target = route.config.get("mountpoint.target")
        if target is not None:
            prefix = route.config["mountpoint.prefix"].rstrip("/")
            try:
                below = self._resolver.find(target, asked._replace(path=asked.path[len(prefix) :] or "/"))
            except UnknownFrameworkError:
                return str(route.rule)
            return None if below is None else prefix + below
        return str(route.rule)


def router(app: Any, resolver: Resolver) -> Rules:
    """The router of a Bottle application."""
    return Rules(app, resolver)
