"""Asks the routers of whatever is served: one for every application found, made once and kept."""

from __future__ import annotations

from typing import Any

from server_tracing.frameworks import Asked, Router
from server_tracing.frameworks.unwrap import applications_in

MOST_APPLICATIONS = 1000  # mounted ones; beyond that something makes them anew for every request


class UnknownFrameworkError(LookupError):
    """Nobody here can say which routes there are."""


class Resolver:
    """The routers of the applications met so far. Used by one thread."""

    def __init__(self) -> None:
        # By id, with the application itself, so that no other object can come by the same id.
        self._known: dict[int, tuple[object, list[Router]]] = {}

    def find(self, served: object, asked: Asked) -> str | None:
        """The route within `served`; None if there is none, `UnknownFrameworkError` if nobody can tell."""
        routers = self.routers(served)
        if not routers:
            raise UnknownFrameworkError
        for router in routers:
            found = router.find(asked)
            if found is not None:
                return found
        return None

    def routers(self, served: object) -> list[Router]:
        """The routers of what is served."""
        known = self._known.get(id(served))
        if known is None:
            if len(self._known) >= MOST_APPLICATIONS:
                self._known.clear()
            known = self._known[id(served)] = (served, list(self._made(served)))
        return known[1]

    def _made(self, served: object) -> Any:
        for framework, app in applications_in(served):
            make = framework.offers("router")
            if make is not None:
                yield make(app, self)

    def __repr__(self) -> str:
        return f"<Resolver of {len(self._known)} applications>"
