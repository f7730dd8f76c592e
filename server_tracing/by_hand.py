"""Segments that an application begins and ends by hand outside of any request, on their way to X-Ray's API.

To a daemon the X-Ray SDK sends them itself. Where there is none they wait here, a bounded number of them, for
the exporter's thread, which sends them with the next that it has to do; what a process has not sent when it
ends is lost, as a datagram would be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

MOST = 1000

_waiting: deque[bytes] = deque(maxlen=MOST)  # appended to by any thread, taken from by the exporter's


def add(document: str) -> None:
    """One more; the oldest is let go where there are too many."""
    _waiting.append(document.encode("utf-8", "backslashreplace"))


def take() -> list[bytes]:
    """All that wait."""
    return [_waiting.popleft() for _ in range(len(_waiting))]


def give_back(documents: Iterable[bytes]) -> None:
    """Those could not be sent now."""
    _waiting.extendleft(list(documents)[::-1][: MOST - len(_waiting)])
