"""The names an application uses; `server_tracing` hands them out. Asking for one of them is the first use.

Outside of a request, and where tracing is off, each of them does nothing, and costs next to nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from server_tracing.inside import here as _here
from server_tracing.inside.host import worker_host
from server_tracing.inside.live import Nobody as CurrentRequest
from server_tracing.inside.opening import open_room
from server_tracing.inside.span_api import OwnSpan as Span
from server_tracing.inside.spans import calling
from server_tracing.propagation import inject

__all__ = ["CurrentRequest", "Span", "current", "headers", "in_context", "span"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def current() -> CurrentRequest:
    """The request in hand, in whatever thread, greenlet or task of it; falsy and inert outside of one."""
    return _here.live_here() or _here.NOBODY


def span(name: str, kind: str = "internal") -> Span:
    """A piece of the request's work: `with span("load cart"):`, or `@span("load cart")` on any function.

    `kind` is internal, client (a call to another service), server, producer or consumer.
    """
    return Span(name, kind)


def headers() -> dict[str, str]:
    """What to add to the headers of a call to another service, in the formats that `propagation` names. Ask
    anew for every call, best in a span of kind client: it is what the other service names as its parent."""
    place = _here.place_here()
    live = _here.live_of(place) if place is not None else None
    if place is None or live is None:
        return {}
    return dict(inject(live.outgoing(calling(place, live)), live.host.config.propagation))


def in_context(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function, to be called in a thread of one's own as if it were called here."""
    place = _here.place_here()
    if place is None:
        return function
    if inspect.iscoroutinefunction(function):

        async def awaited(*arguments: Any, **named: Any) -> Any:
            with _Moved(place):
                return await function(*arguments, **named)

        return cast("Callable[Parameters, Result]", functools.wraps(function)(awaited))

    @functools.wraps(function)
    def called(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        with _Moved(place):
            return function(*arguments, **named)

    return called


class _Moved:
    """Code that runs as if it were somewhere else."""

    __slots__ = ("place", "token")

    def __init__(self, place: Any) -> None:
        self.place = place

    def __enter__(self) -> None:
        self.token = _here.here.set(self.place)

    def __exit__(self, *exc: object) -> None:
        _here.here.reset(self.token)


def _begin_use() -> None:
    make_host = worker_host()
    if make_host is not None and _here.attached() is None:
        open_room(make_host)


_begin_use()
