"""Segments that an application begins and ends by hand outside of any request, on their way to X-Ray's API.

To a daemon the X-Ray SDK sends them itself. Where there is none they wait here, a bounded number of them, for
the exporter's thread, which sends them with the next that it has to do, and once more when the process ends;
what is not taken then is lost, as a datagram would be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

MOST = 1000


class Made(NamedTuple):
    """A segment, or a subsegment that is sent by itself."""

    id: str
    data: bytes


_waiting: deque[Made] = deque(maxlen=MOST)  # appended to by any thread, taken from by the exporter's


def add(entity_id: str, document: str) -> None:
    """One more; the oldest is let go where there are too many."""
    _waiting.append(Made(entity_id, document.encode("utf-8", "backslashreplace")))


def take() -> list[Made]:
    """All that wait."""
    return [_waiting.popleft() for _ in range(len(_waiting))]


def give_back(documents: Iterable[Made]) -> None:
    """Those could not be sent now."""
    _waiting.extendleft(list(documents)[::-1][: MOST - len(_waiting)])
