"""What this room is given of the worker it is in, and what went wrong in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Protocol

from msgspec import Struct

from server_tracing.config import Config
from server_tracing.journal.placement import Heard
from server_tracing.record import Fault, Origin
from server_tracing.sampling import Told


class Slot(Protocol):
    """One open request, as the recorder keeps it."""

    number: int
    start: int
    begin: bytes
    live: Any


class Host(Struct, frozen=True):
    """A worker process, as far as this room has to do with it. Made by the composition root."""

    origin: Origin
    clock: Callable[[], int]
    append: Callable[[int, bytes], bool]  # a frame to the journal; False when it has no room
    open: Mapping[int, Slot]  # the requests in flight
    follow: Callable[[Callable[[Any], object], Callable[[Any], object]], None]
    slot_of: Callable[[FrameType | None], Slot | None]  # which request a stack serves
    fault_from: Callable[[BaseException], Fault]
    heard: Callable[[bytes], Heard]  # what a begin says of the trace it belongs to
    decide: Callable[[Heard], Told]  # what to tell others
    config: Config
    bridges: tuple[str, ...] = ()  # libraries whose spans join the request, see opening.py

    def __repr__(self) -> str:
        return f"<Host pid {self.origin.pid} · {len(self.open)} open · {COUNTS}>"


class Counts(Struct):
    """What was let go, and why; for whoever wonders. Counted without a lock: near enough."""

    late: int = 0  # said of a request that had ended
    twice: int = 0  # a span ended that had ended
    beyond: int = 0  # spans and notes over the bounds of one request
    unwritten: int = 0  # the journal had no room, or what was said could not be encoded

    def __str__(self) -> str:
        told = (f"{getattr(self, name)} {name}" for name in self.__struct_fields__ if getattr(self, name))
        return " · ".join(told) or "nothing let go"


COUNTS = Counts()


def worker_host() -> Callable[[], Host] | None:
    """The worker of this process, if it has one. Not imported for it: without that module there is none."""
    module = sys.modules.get("server_tracing.worker")
    worker = module.current() if module is not None else None
    return worker.host if worker is not None else None
