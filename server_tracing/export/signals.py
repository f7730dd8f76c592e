"""A bell that one thread rings and another waits for, made of one lock that gevent has not replaced."""

from __future__ import annotations

from contextlib import suppress

from server_tracing import unpatched


class Bell:
    """Rung any number of times before it is heard, it is heard once."""

    def __init__(self) -> None:
        self._lock = unpatched.lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake whoever waits, or will wait next."""
        with suppress(RuntimeError):  # it is ringing already
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Wait until it rings or `seconds` are over; did it ring?"""
        heard: bool = self._lock.acquire(True, max(0.0, seconds))
        return heard
