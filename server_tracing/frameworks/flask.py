"""Flask: routes from the application's URL map; exceptions where it has them answered."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import wraps
from typing import Any

from server_tracing.frameworks import Asked, Note
from server_tracing.frameworks.resolver import Resolver


class UrlMap:
    """A Flask application's rules; blueprints' stand in the same map."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._adapters: tuple[object, Any] = (
            None,
            None,
        )  # the map, and it bound: to no host, unless hosts matter

    @property
    def by_host(self) -> bool:
        return bool(self._app.url_map.host_matching or getattr(self._app, "subdomain_matching", False))

    def version(self) -> object:
        return self._app.url_map, len(self._app.url_map._rules)

    def find(self, asked: Asked) -> str | None:
        exceptions: Any = sys.modules["werkzeug.exceptions"]
        routing: Any = sys.modules["werkzeug.routing"]
        adapter = self._adapter(asked.host)
        told: dict[str, Any] = {"path_info": asked.path, "return_rule": True, "websocket": asked.websocket}
        try:
            rule, _ = adapter.match(method=asked.method, **told)
        except exceptions.MethodNotAllowed as error:
            rule, _ = adapter.match(method=next(iter(error.valid_methods or ("GET",))), **told)
        except (exceptions.NotFound, routing.RequestRedirect):
            return None
        return str(rule.rule)

    def _adapter(self, host: str) -> Any:
        server_name = self._app.config.get("SERVER_NAME") or ""
        if self._app.url_map.host_matching:
            return self._app.url_map.bind(host)
        if server_name and self.by_host and host.endswith("." + server_name):
            return self._app.url_map.bind(server_name, subdomain=host[: -len(server_name) - 1])
        if self._adapters[0] is not self._app.url_map:
            self._adapters = self._app.url_map, self._app.url_map.bind(server_name)
        return self._adapters[1]


def router(app: Any, resolver: Resolver) -> UrlMap:
    """The router of a Flask application."""
    return UrlMap(app)


def watch(note: Note) -> None:
    """Two methods are called for nothing but exceptions: one for what a handler answers, one for what nobody
    does. The signal tells of the second only, and in Flask 2 needs a package more."""
    flask: Any = sys.modules["flask"]
    for name in ("handle_user_exception", "handle_exception"):
        setattr(flask.Flask, name, _noting(getattr(flask.Flask, name), flask, note))


def _noting(handle: Any, flask: Any, note: Note) -> Any:
    refusals = sys.modules["werkzeug.exceptions"].HTTPException

    @wraps(handle)
    def noting(app: Any, *arguments: Any, **named: Any) -> Any:
        answer = handle(app, *arguments, **named)
        with suppress(Exception):
            raised = next(argument for argument in arguments if isinstance(argument, BaseException))
            if not isinstance(raised, refusals) or (raised.code or 500) >= 500:
                note(flask.request.environ, raised)
        return answer

    return noting
