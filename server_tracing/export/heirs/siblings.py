"""The other workers of this state directory, watched: uvicorn's supervisor keeps nothing of how they died.

A descriptor of a process (pidfd) tells of its end at once, and wakes the reader. How it ended stands in /proc
until it is reaped: within half a second, but at once where the supervisor killed it. From Linux 6.15 on the
descriptor itself remembers (PIDFD_GET_INFO in linux/pidfd.h).
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from server_tracing import oom
from server_tracing.export.signals import ready
from server_tracing.identity import boot_id
from server_tracing.journal.journals import Journals
from server_tracing.record import Origin

from .deaths import Told

EVERY = 0.2  # seconds between looks for new ones: who is not known yet dies unseen; 50 us each
REMEMBERED = 64  # deaths
INFO = struct.Struct("<QQ11Ii")  # mask, cgroup, eleven ids, exit code
GET_INFO = 0b11 << 30 | INFO.size << 16 | 0xFF << 8 | 11
INFO_EXIT = 1 << 3
EXIT_CODE = 52  # field of /proc/PID/stat, counted from 1; see proc(5)


class Siblings:
    """Who else serves, and how those ended that do not any more. Belongs to the reader's thread."""

    def __init__(
        self,
        journals: Journals,
        *,
        open_process: Callable[[int], int] = os.pidfd_open,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._journals = journals
        self._open_process = open_process
        self._clock = clock
        self._next = 0.0
        self._known: set[str] = set()  # journals
        self._files: dict[int, int] = {}  # descriptor of a process -> its pid
        self._deaths: dict[int, Told] = {}
        self._starved = oom.kills()
        self._here = (socket.gethostname(), boot_id())

    @property
    def files(self) -> Iterable[int]:
        """Descriptors that become readable when a sibling dies."""
        return self._files

    def look(self, now: float) -> None:
        """Get to know those that are new."""
        if now < self._next:
            return
        self._next = now + EVERY
        names = set(self._journals.names())
        for name in names - self._known:
            origin = self._journals.origin_of(name)
            if origin is not None:
                self._watch(origin)
        self._known = names

    def _watch(self, origin: Origin) -> None:
        if (origin.host, origin.boot) != self._here or origin.pid == os.getpid():
            return  # its number means nothing here
        with suppress(OSError):  # dead already, or an old kernel
            self._files[self._open_process(origin.pid)] = origin.pid

    def note(self) -> bool:
        """Note who has died; has anybody?"""
        dead = ready(self._files) if self._files else []
        for file in dead:
            pid = self._files.pop(file)
            status = status_of_zombie(pid)
            status = remembered_status(file) if status is None else status
            os.close(file)
            if status is not None:
                self._deaths[pid] = (self._reason(status), self._clock())
        while len(self._deaths) > REMEMBERED:
            del self._deaths[next(iter(self._deaths))]
        return bool(dead)

    def _reason(self, status: int) -> str:
        if not os.WIFSIGNALED(status):
            return f"exit {os.WEXITSTATUS(status)}"
        number, starved = os.WTERMSIG(status), oom.kills()
        out_of_memory = number == signal.SIGKILL and starved > self._starved
        self._starved = starved
        return f"signal {number}" + (" (out of memory)" if out_of_memory else "")

    def death_of(self, pid: int) -> Told | None:
        """How that one died, if it was seen."""
        return self._deaths.get(pid)

    def close(self) -> None:
        """Watch nobody any more."""
        for file in self._files:
            os.close(file)
        self._files.clear()

    def __repr__(self) -> str:
        return f"<Siblings {len(self._files)} alive · {len(self._deaths)} seen to die>"


def status_of_zombie(pid: int) -> int | None:
    """How a process ended that nobody has reaped yet."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[EXIT_CODE - 3]) if fields[0] in ("Z", "X") else None
    except (OSError, ValueError, IndexError):
        return None


def remembered_status(file: int) -> int | None:
    """How the process of this descriptor ended, once it has been reaped."""
    try:
        told = fcntl.ioctl(file, GET_INFO, INFO.pack(INFO_EXIT, *[0] * 13))
    except OSError:  # an older kernel
        return None
    mask, *_, status = INFO.unpack(told)
    return status if mask & INFO_EXIT else None
