"""Where in which request the running code is: one context variable, set once the application has asked.

Candidates, measured (CPython 3.11, best of 7, less an empty call of 40 ns; per request unless said):

- a context variable set for every request whatever the application does: 95 ns, and code that never asked
  finds a variable in its context: against promise 2
- `asyncio.current_task()` noted in the slot: 330 ns, and neither child tasks nor thread pools are found
- the thread's identity, which the slot has anyway: 0 ns, but greenlets and tasks share threads
- the stack, walked up to the frame that holds the slot: 0 ns, but 10 to 30 us whenever somebody asks, and no
  stack leads from a thread pool to the request

Chosen: the context variable, switched on by the first use of this room (`attach`); before that a request
pays for two looks at an attribute that is None (20 ns). In use it costs 0.5 us a request: greenlets, tasks,
their children and thread pools that copy contexts all follow. The switch is on before the first request where
the application holds `server_tracing` in a module when the worker starts (opening.py); where it asks first in
the middle of a request, the requests then open are found by their stacks, once, and followed from there.

What the variable holds is the recorder's slot or, within a span, the span: both have `live`.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from server_tracing.inside.live import Live, Nobody, opened

if TYPE_CHECKING:
    from server_tracing.inside.host import Host, Slot
    from server_tracing.inside.spans import Span

here: ContextVar[Slot | Span | None] = ContextVar("server_tracing", default=None)

NOBODY = Nobody()
companion: Companion | None = None
_host: Host | None = None
_unfollowed: set[int] = set()  # requests that were open when the host was attached


class Companion(Protocol):
    """Another library's idea of where the code is, kept in step with ours."""

    def entered(self, place: Slot | Span) -> None:
        """A request has begun here, or a span of ours has become active."""

    def left(self, place: Slot | Span) -> None:
        """It has ended, or is active no more."""

    def inner(self, place: Slot | Span) -> Slot | Span:
        """The span of the library's own within this place, if the code is in one."""


def attach(host: Host) -> None:
    """Follow the requests of this worker from now on."""
    global _host
    _host = host
    host.follow(here.set if companion is None else entered, left)
    _unfollowed.clear()
    _unfollowed.update(host.open)


def attached() -> Host | None:
    """The worker whose requests are followed."""
    return _host


def accompany(other: Companion) -> None:
    """Keep this one in step from now on."""
    global companion
    companion = other
    if _host is not None:
        _host.follow(entered, left)


def entered(slot: Slot | None) -> None:
    """A request begins (None: one that is not recorded)."""
    here.set(slot)
    if slot is not None:
        step_in(slot)


def step_in(place: Slot | Span) -> None:
    """Let the companion know; what goes wrong there is not the request's business."""
    if companion is not None:
        with suppress(Exception):
            companion.entered(place)


def step_out(place: Slot | Span) -> None:
    """The same the other way."""
    if companion is not None:
        with suppress(Exception):
            companion.left(place)


def left(slot: Slot) -> None:
    """A request ends: what this context does next is not part of it. Contexts of tasks that go on keep it."""
    try:
        live: Live | None = slot.live
        if live is not None:
            live.close()
        place = here.get()
        if place is slot or (live is not None and place is not None and place.live is live):
            here.set(None)
            step_out(slot)
    except Exception:  # noqa: BLE001, S110 - an end is written whatever happens here
        pass


def place_here() -> Slot | Span | None:
    """The span or the request that the running code is in."""
    place = here.get()
    if place is None:
        return _found() if _unfollowed else None
    return place if companion is None else companion.inner(place)


def live_of(place: Slot | Span) -> Live | None:
    """The request of a place."""
    if place.live is None and _host is not None:
        return opened(place, _host)  # type: ignore[arg-type]
    return place.live


def live_here() -> Live | None:
    """The request in hand, if there is one."""
    place = place_here()
    return None if place is None else place.live or live_of(place)


def _found() -> Slot | None:
    """A request that was open before anybody asked, by the stack."""
    assert _host is not None
    _unfollowed.intersection_update(_host.open)
    slot = _host.slot_of(sys._getframe(2)) if _unfollowed else None
    if slot is None or slot.number not in _unfollowed:
        return None
    here.set(slot)
    return slot
