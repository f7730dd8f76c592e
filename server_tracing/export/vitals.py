"""How this worker is: memory, processor, threads, files, and how many clients wait to be accepted."""

from __future__ import annotations

import _socket
import os
import stat
import struct
import time
from collections.abc import Callable, Iterable

import psutil

from server_tracing.record import Vitals

UNKNOWN = -1
SHORTEST = 1_000_000_000  # ns of which a percentage of processor time says anything
FIRST_FILES = 64  # listening sockets are opened early, or inherited: they have low numbers
_UNACKED = struct.Struct("24xI")  # tcpi_unacked in struct tcp_info (linux/tcp.h); of a listener, what waits


class Gauge:
    """Reads the vitals of one process."""

    def __init__(
        self, process: psutil.Process | None = None, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._process = process or psutil.Process()
        self._clock = clock
        self._process.cpu_percent()  # percentages are of the time since the call before
        psutil.cpu_percent()
        self._asked = clock()

    def read(self, in_flight: int, served: int) -> Vitals:
        """The vitals now; UNKNOWN where the system does not tell."""
        process, stamp = self._process, self._clock()
        long_enough, self._asked = stamp - self._asked >= SHORTEST, stamp
        return Vitals(
            stamp=stamp,
            rss=_told(lambda: process.memory_info().rss),
            cpu=_told(process.cpu_percent) if long_enough else UNKNOWN,
            threads=_told(process.num_threads),
            files=_told(process.num_fds),
            in_flight=in_flight,
            served=served,
            accept_queue=accept_queue(),
            machine_cpu=_told(psutil.cpu_percent) if long_enough else UNKNOWN,
            available=_told(lambda: psutil.virtual_memory().available),
        )

    def __repr__(self) -> str:
        return f"<Gauge of {self._process.pid}>"


def accept_queue(files: Iterable[int] = range(FIRST_FILES)) -> int:
    """Connections that wait to be accepted, over all TCP sockets this process listens on."""
    waiting = [found for file in files if (found := _waiting_at(file)) >= 0]
    return sum(waiting) if waiting else UNKNOWN


def _waiting_at(file: int) -> int:
    try:
        if not stat.S_ISSOCK(os.fstat(file).st_mode):
            return UNKNOWN
        # Not a duplicate: the descriptor is borrowed and given back, never closed by us.
        borrowed = _socket.socket(fileno=file)
    except OSError:
        return UNKNOWN
    try:
        if not borrowed.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            return UNKNOWN
        info = borrowed.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, 104)
        waiting: int = _UNACKED.unpack_from(info)[0]
        return waiting
    except (OSError, AttributeError, struct.error):  # a unix socket, or a system that does not tell
        return UNKNOWN
    finally:
        borrowed.detach()


def _told(ask: Callable[[], float]) -> int:
    try:
        return ask()  # type: ignore[return-value]
    except Exception:  # noqa: BLE001 - psutil.Error, OSError, and what odd platforms raise
        return UNKNOWN
