"""Threads, locks and clocks as the operating system has them, also where gevent has replaced Python's.

Our threads must run while a greenlet keeps the hub busy, and a lock shared with a request must never
switch greenlets. gevent keeps the originals; without it, what the modules hold *is* the original.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any

ours: ContextVar[bool] = ContextVar("server_tracing_ours", default=False)  # true in threads started here


def _original(module: str, name: str) -> Any:
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(__import__(module), name)


def rlock() -> Any:
    """A new reentrant lock that knows nothing of greenlets."""
    return _original("_thread", "RLock")()


def lock() -> Any:
    """A new lock that knows nothing of greenlets."""
    return _original("_thread", "allocate_lock")()


def start_thread(function: Any, *arguments: Any) -> int:
    """Start a thread of the operating system."""

    def run() -> None:
        ours.set(True)
        function(*arguments)

    ident: int = _original("_thread", "start_new_thread")(run, ())
    return ident


def socket(*kind: int) -> Any:
    """A new socket of which `recv` and its like wait for real."""
    return _original("socket", "socket")(*kind)


def addresses(host: str, port: int) -> list[Any]:
    """Where a host is to be reached by TCP, as `socket.getaddrinfo` says it."""
    stream = _original("socket", "SOCK_STREAM")
    found: list[Any] = _original("socket", "getaddrinfo")(host, port, 0, stream)
    return found


def sleep(seconds: float) -> None:
    """Sleep for real, and let the other threads run."""
    _original("time", "sleep")(seconds)


def poll() -> Any:
    """A new `select.poll` that waits for real."""
    return _original("select", "poll")()
