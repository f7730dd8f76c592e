"""werkzeug's DispatcherMiddleware: applications of any framework below prefixes."""

from __future__ import annotations

from typing import Any

from server_tracing.frameworks import Asked
from server_tracing.frameworks.resolver import Resolver


class Dispatch:
    """The applications of a dispatcher, found as it does: by the longest prefix of whole segments."""

    by_host = True  # they may ask

    def __init__(self, dispatcher: Any, resolver: Resolver) -> None:
        self._dispatcher = dispatcher
        self._resolver = resolver

    def version(self) -> object:
        served = (self._dispatcher.app, *self._dispatcher.mounts.values())
        return [router.version() for app in served for router in self._resolver.routers(app)]

    def find(self, asked: Asked) -> str | None:
        prefix, rest = asked.path, ""
        while "/" in prefix:
            if prefix in self._dispatcher.mounts:
                found = self._resolver.find(self._dispatcher.mounts[prefix], asked._replace(path=rest))
                return None if found is None else prefix + found
            prefix, _, last = prefix.rpartition("/")
            rest = f"/{last}{rest}"
        return self._resolver.find(self._dispatcher.mounts.get(prefix, self._dispatcher.app), asked)


def router(app: Any, resolver: Resolver) -> Dispatch:
    """The router of a dispatcher."""
    return Dispatch(app, resolver)
