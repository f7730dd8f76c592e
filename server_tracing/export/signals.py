"""Bells that one thread rings and another waits for; gevent has no hand in them."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from contextlib import suppress

from server_tracing import unpatched


class Bell:
    """Rung any number of times before it is heard, it is heard once. Made of one lock."""

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


class Doorbell:
    """A bell by whose side other descriptors can be watched. Nobody hears it before it is put up."""

    def __init__(self) -> None:
        self._file = -1

    def put_up(self) -> None:
        """Here, in the process of those who wait."""
        self._file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def ring(self) -> None:
        """Wake whoever waits, or will wait next."""
        if self._file >= 0:
            os.eventfd_write(self._file, 1)

    def wait(self, seconds: float, others: Iterable[int] = ()) -> bool:
        """Wait until it rings, one of the others can be read from, or `seconds` are over; did it ring?"""
        heard = self._file in ready([self._file, *others], seconds)
        if heard:
            with suppress(BlockingIOError):
                os.eventfd_read(self._file)
        return heard

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)


def ready(files: Iterable[int], seconds: float = 0.0) -> list[int]:
    """Which of these can be read from, after that time at most."""
    poll = unpatched.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return [file for file, _ in poll.poll(max(0.0, seconds) * 1000)]
