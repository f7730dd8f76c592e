"""Falcon, WSGI and ASGI: templates from its router; exceptions where it composes its answer to them."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from server_tracing.frameworks import Asked, Note
from server_tracing.frameworks.resolver import Resolver


class Templates:
    """A Falcon application's router, whichever it was given; a sink is no route."""

    by_host = False

    def __init__(self, app: Any) -> None:
        self._app = app

    def version(self) -> object:
        return self._app._router, len(getattr(self._app._router, "_roots", ()))

    def find(self, asked: Asked) -> str | None:
        path = asked.path
        if self._app.req_options.strip_url_path_trailing_slash and len(path) > 1:
            path = path.removesuffix("/")
        found = self._app._router.find(path)
        return None if found is None else found[3]


def router(app: Any, resolver: Resolver) -> Templates:
    """The router of a Falcon application."""
    return Templates(app)


def watch(note: Note) -> None:
    """`_handle_exception` is called for exceptions only; no public place sees them all."""
    for module in ("falcon.app", "falcon.asgi.app"):
        app_class: Any = getattr(sys.modules.get(module), "App", None)
        if app_class is not None:
            own = app_class._handle_exception
            if not hasattr(own, "__wrapped__"):  # its ASGI side may be imported later
                watched = _awaiting if iscoroutinefunction(own) else _calling
                app_class._handle_exception = watched(own, note)


def _calling(handle: Any, note: Note) -> Any:
    @wraps(handle)
    def _handle_exception(app: Any, req: Any, resp: Any, ex: Any, *rest: Any, **named: Any) -> Any:
        handled = handle(app, req, resp, ex, *rest, **named)
        with suppress(AttributeError):
            note(req.env, ex)
        return handled

    return _handle_exception


def _awaiting(handle: Any, note: Note) -> Any:
    @wraps(handle)
    async def _handle_exception(app: Any, req: Any, resp: Any, ex: Any, *rest: Any, **named: Any) -> Any:
        handled = await handle(app, req, resp, ex, *rest, **named)
        with suppress(AttributeError):
            note(req.scope, ex)
        return handled

    return _handle_exception
