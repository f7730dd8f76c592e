"""The table of frameworks: how each tells the route of a request, and what failed in it, from outside.

No framework is imported here: one that the application has not imported itself cannot be in use. An entry
names the classes of application objects and a sibling module, which has one or more of

- `left_in_environ(environ)`, `left_in_scope(scope)`: the route where the framework leaves it behind, read in
  the request; "" where it left none;
- `router(app, resolver)`: a `Router`, which is asked in the exporter's thread;
- `watch(note)`: have `note(environ or scope, exception)` called for exceptions the framework answers itself.

A new framework is one entry, one module and one test.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol

Carrier = dict[str, Any]  # a WSGI environment or an ASGI scope: what a request has from end to end
Left = Callable[[Carrier], str]
Note = Callable[[Carrier, BaseException], None]

MOUNTED = "\0"  # between the path a mount took, as sent, and the route below it: who left it knew no better


class Framework(NamedTuple):
    """One line of the table."""

    name: str
    applications: tuple[str, ...]  # "module:Class"; the modules an application must have imported to use it

    @property
    def classes(self) -> tuple[type, ...]:
        """Its application classes, as far as they are imported."""
        found = (application.split(":") for application in self.applications)
        classes = (getattr(sys.modules.get(module), name, None) for module, name in found)
        return tuple(kind for kind in classes if isinstance(kind, type))

    def offers(self, what: str) -> Any:
        """A function of its module; None where it has none."""
        return getattr(import_module(f"{__name__}.{self.name}"), what, None)


FRAMEWORKS = (
    Framework("bottle", ("bottle:Bottle",)),
    Framework("django", ("django.core.handlers.base:BaseHandler",)),
    Framework("falcon", ("falcon.app:App", "falcon.asgi.app:App")),
    Framework("flask", ("flask.app:Flask",)),
    Framework("litestar", ("litestar.app:Litestar",)),
    Framework("pyramid", ("pyramid.router:Router",)),
    Framework("starlette", ("starlette.applications:Starlette", "starlette.routing:Router")),  # and FastAPI
    Framework("werkzeug", ("werkzeug.middleware.dispatcher:DispatcherMiddleware",)),
)


class Served(NamedTuple):
    """An application of this process, and the path it is served below: part of targets, not of its routes."""

    app: Any
    root_path: str = ""


class Asked(NamedTuple):
    """A request whose route is wanted."""

    method: str
    path: str  # decoded, without query
    host: str = ""
    websocket: bool = False


class Router(Protocol):
    """One application's router. `find` may raise: then nothing is known."""

    by_host: bool  # whether the answer depends on the host

    def version(self) -> object:
        """Something that differs once routes have come or gone."""

    def find(self, asked: Asked) -> str | None:
        """The route's pattern, also if only the method is wrong; None if this application has none."""


def in_use() -> list[Framework]:
    """The frameworks that this process has imported."""
    return [framework for framework in FRAMEWORKS if framework.classes]


def left_in(where: str) -> Left | None:
    """What reads the route out of an "environ" or a "scope", without ever raising; None where nobody leaves
    one. To be asked for once, when the application is loaded: it runs in every request."""
    offers = [framework.offers(f"left_in_{where}") for framework in in_use()]
    readers = [reader for reader in offers if reader is not None]
    if not readers:
        return None
    only = readers[0] if len(readers) == 1 else _first_of(readers)

    def left(carrier: Carrier) -> str:
        try:
            return only(carrier)
        except Exception:  # noqa: BLE001 - what stands there is the framework's business
            return ""

    return left


def _first_of(readers: list[Left]) -> Left:
    return lambda carrier: next(filter(None, (reader(carrier) for reader in readers)), "")
