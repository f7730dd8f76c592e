"""gevent's greenlets, which begin with an empty context where tasks copy that of their maker: a greenlet that
is spawned in a request is given the place it was spawned in, and nothing else of that context.

Threads are left alone, as they are without gevent: one that is started in a request, for a pool say, may go
on to serve others. `in_context` is for them.
"""

from __future__ import annotations

import sys
from contextvars import Context
from typing import Any

from server_tracing.inside.here import here

_followed: set[type] = set()


def follow() -> None:
    """From now on, where gevent is in use."""
    module = sys.modules.get("gevent.greenlet")
    kind = getattr(module, "Greenlet", None)
    if kind is not None and kind not in _followed:
        _followed.add(kind)
        kind.add_spawn_callback(spawned)


def spawned(greenlet: Any) -> None:
    """Called by gevent where the greenlet is spawned, before it runs."""
    place = here.get()
    if place is None or is_thread(greenlet):
        return
    if greenlet.gr_context is None:
        greenlet.gr_context = Context()
    greenlet.gr_context.run(here.set, place)


def is_thread(greenlet: Any) -> bool:
    """Whether gevent runs a thread of Python's in it."""
    threading = sys.modules.get("threading")
    made_of = getattr(getattr(greenlet, "_run", None), "__self__", None)
    return threading is not None and isinstance(made_of, threading.Thread)
