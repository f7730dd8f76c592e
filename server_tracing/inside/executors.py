"""Work that is handed to a `ThreadPoolExecutor` in a request is the request's; so is `run_in_executor`.

The thread is lent for it: before and after it is where it was. Outside of a request, nothing is different.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from server_tracing.inside.here import here, place_here


def follow() -> None:
    """From now on, in this process."""
    if not hasattr(ThreadPoolExecutor.submit, "server_tracing"):
        ThreadPoolExecutor.submit = following(ThreadPoolExecutor.submit)  # type: ignore[method-assign]


def following(submit: Callable[..., Any]) -> Callable[..., Any]:
    """`submit`, that remembers where it is called."""

    @functools.wraps(submit)
    def submit_from_here(pool: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:
        place = place_here()
        if place is None:
            return submit(pool, function, *arguments, **named)
        return submit(pool, work(place, function), *arguments, **named)

    submit_from_here.server_tracing = True  # type: ignore[attr-defined]
    return submit_from_here


def work(place: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, to be called at that place."""

    def at_place(*arguments: Any, **named: Any) -> Any:
        token = here.set(place)
        try:
            return function(*arguments, **named)
        finally:
            here.reset(token)

    return at_place
