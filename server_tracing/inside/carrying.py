"""Being carried to a place by hand: how libraries have an application take its context to another thread."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from server_tracing.inside.here import here
from server_tracing.inside.spans import Span

_carried: ContextVar[bool] = ContextVar("server_tracing_carried", default=False)


def carry_to(place: Any) -> None:
    """Be at this place from now on; `leave` undoes it."""
    if here.get() is None:
        _carried.set(True)
    here.set(place)


def is_carried() -> bool:
    """Whether this code is in a request only because it was carried there."""
    return _carried.get()


def leave() -> None:
    """What was begun here is not current any more; where this code was carried to, neither is the request."""
    place = here.get()
    while isinstance(place, Span):
        place = place.outer
    here.set(None if _carried.get() else place)
    _carried.set(False)
