"""Litestar: leaves the template in the scope, and answers exceptions while it handles them, which the
recorder of ASGI sees in `send`."""

from __future__ import annotations

from typing import Any

from server_tracing.frameworks import Asked, Carrier
from server_tracing.frameworks.resolver import Resolver

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def left_in_scope(scope: Carrier) -> str:
    """The template of the route that was called; of a mount Litestar leaves that of the root."""
    template: str = scope.get("path_template", "")
    if not template or template == "/" != scope["path"]:
        return ""
    return template


class Trie:
    """A Litestar application's router."""

    by_host = False

    def __init__(self, app: Any) -> None:
        self._app = app

    def version(self) -> object:
        return len(self._app.routes)

    def find(self, asked: Asked) -> str | None:
        path = asked.path.rstrip("/") or "/"
        for method in (None,) if asked.websocket else (asked.method, *METHODS):
            try:
                return self._match(path, method)
            except Exception as refusal:
                status = getattr(refusal, "status_code", None)
                if status is None:
                    raise
                if status != 405:
                    break
        return None

    def _match(self, path: str, method: str | None) -> str:
        routing = self._app.asgi_router
        match = getattr(routing, "_handle_routing", routing.handle_routing)  # without the application's cache
        _, handler, _, _, template = match(path=path, method=method)
        if getattr(handler, "is_mount", False):
            mounts = (str(mount) for mount in sorted(handler.paths) if path.startswith(mount))
            return next(mounts) + "/{path}"
        return str(template)


def router(app: Any, resolver: Resolver) -> Trie:
    """The router of a Litestar application."""
    return Trie(app)
