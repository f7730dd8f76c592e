"""The route of a finished request: as the framework left it, else as its router says when it is asked again.

Asked in the exporter's thread, by method and path. Answers are remembered; routers that come to take much
time get no more than a share of it; what they raise costs the route and nothing else. Where nobody knows the
routes (a framework not in the table, a journal delivered by another program) the path makes a name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns, thread_time_ns
from urllib.parse import unquote

from server_tracing.frameworks import MOUNTED, Asked, Router, Served
from server_tracing.frameworks.resolver import Resolver
from server_tracing.naming.routeless import routeless_name

MOST_REMEMBERED = 4096
LONGEST_PATH = 1024
REDIRECTS = frozenset((301, 302, 303, 307, 308))

LOOK_EVERY_NS = 100_000_000  # whether routes have come or gone
FREE_NS = 100_000  # what a look-up may take: the frameworks' own take 5 to 30 us
SHARE = 0.05  # of the time that passes, for what takes longer ...
BURST_NS = 100_000_000  # ... and what may be saved up of it

Applications = Callable[[], Sequence[Served]]
Place = tuple[str, str, str, bool, bool]


class UnknownRouteError(Exception):
    """Nobody can say what the route is, or not now."""


class Routes:
    """Names routes. `applications` are those this process serves; used by the reader's thread alone."""

    def __init__(
        self,
        applications: Applications = tuple,
        derive: bool = True,
        clock: Callable[[], int] = perf_counter_ns,
        processor: Callable[[], int] = thread_time_ns,
    ) -> None:
        self._applications = applications
        self._derive = derive
        self._clock = clock
        self._budget = Budget(clock, processor)
        self._resolver = Resolver()
        self._routers: list[tuple[str, Router]] = []  # behind the path their application is served below
        self._version: object = None
        self._look_at = 0
        self._by_host = False
        self._answers: dict[Place, str | None] = {}

    def route(
        self, left: str, method: str, path: str, host: str, websocket: bool, status: int | None
    ) -> str | None:
        """The framework's pattern, a derived name where nobody knows, None where there is no route."""
        taken, mounted, template = left.partition(MOUNTED) if left else ("", "", "")
        if left and not mounted:
            return left
        if self._routers or self._clock() >= self._look_at:
            try:
                found = self._find(method, path, host, websocket, status in REDIRECTS)
                if found is not None or not mounted:
                    return found
            except Exception:  # noqa: BLE001, S110 - a router is the framework's code, and the application's
                pass
        if mounted:
            return routeless_name(taken) + template
        return routeless_name(path) if self._derive and path else None

    def _find(self, method: str, path: str, host: str, websocket: bool, redirected: bool) -> str | None:
        if self._clock() >= self._look_at:
            self._look()
        if not self._routers or len(path) > LONGEST_PATH:
            raise UnknownRouteError
        place = (method, path, host if self._by_host else "", websocket, redirected)
        if place not in self._answers:
            with self._budget:
                answer = self._ask(
                    Asked(method, unquote(path) if "%" in path else path, host, websocket),
                    redirected,
                )
            if len(self._answers) >= MOST_REMEMBERED:
                self._answers.clear()
            self._answers[place] = answer
        return self._answers[place]

    def _ask(self, asked: Asked, redirected: bool) -> str | None:
        found = self._first(asked)
        if found is None and redirected:  # to the same path with a slash more or less
            path = asked.path[:-1] if asked.path.endswith("/") else asked.path + "/"
            found = self._first(asked._replace(path=path))
        return found

    def _first(self, asked: Asked) -> str | None:
        for root_path, router in self._routers:
            found = router.find(asked._replace(path=below(root_path, asked.path)) if root_path else asked)
            if found is not None:
                return found
        return None

    def _look(self) -> None:
        """Find out whose routes there are; forget the answers if routes have come or gone."""
        applications = self._applications()
        self._routers = [
            (root, router) for app, root in applications for router in self._resolver.routers(app)
        ]
        self._by_host = any(router.by_host for _, router in self._routers)
        version = [router.version() for _, router in self._routers]
        if version != self._version:
            self._answers.clear()
            self._version = version
        self._look_at = self._clock() + LOOK_EVERY_NS

    def __repr__(self) -> str:
        return f"<Routes of {len(self._routers)} routers · {len(self._answers)} remembered>"


class Budget:
    """Processor time that slow look-ups may take, as a share of the time that passes; entering raises when it
    is used up."""

    def __init__(self, clock: Callable[[], int], processor: Callable[[], int]) -> None:
        self._clock = clock
        self._processor = processor
        self._left: float = BURST_NS
        self._since = clock()
        self._began = 0

    def __enter__(self) -> None:
        now = self._clock()
        self._left = min(BURST_NS, self._left + (now - self._since) * SHARE)
        self._since = now
        if self._left <= 0:
            raise UnknownRouteError
        self._began = self._processor()

    def __exit__(self, *exc: object) -> None:
        self._left -= max(0, self._processor() - self._began - FREE_NS)


def below(root_path: str, path: str) -> str:
    """A path as the application sees it."""
    return path[len(root_path) :] if path.startswith(root_path + "/") else path
