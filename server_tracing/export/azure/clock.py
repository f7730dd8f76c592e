"""What if this machine's clock is wrong: the service rejects items older than 48 hours or 2 hours ahead.

Every answer says what time the service has. When items are rejected for their time and the two clocks are far
apart, the items are not at fault: they are sent again with their times corrected by the difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from server_tracing.units import duration_text

from .answers import http_time
from .wire import Reply

TOLERABLE = 3600.0  # seconds; the service forgives twice as much


class Skew:
    """The difference between the service's clock and ours, and what is added to our times because of it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._behind = 0.0  # seconds, of ours behind the service's
        self.shift = 0.0

    def see(self, reply: Reply) -> None:
        """Compare the clocks; once ours has been set right, times are right as they are."""
        there = http_time(reply.header("date"))
        if there is not None:
            self._behind = there - self._clock()
            if abs(self._behind) < TOLERABLE:
                self.shift = 0.0

    def correct(self, said: str) -> bool:
        """Is this why an item was refused, and is anything new to be done about it?"""
        if "time" not in said.lower() or abs(self._behind - self.shift) < TOLERABLE:
            return False
        self.shift = self._behind
        return True

    @property
    def sentence(self) -> str:
        """What is wrong."""
        apart = duration_text(round(abs(self._behind) / 60) * 60)
        direction = "behind" if self._behind > 0 else "ahead of"
        return f"this machine's clock is {apart} {direction} the service's; times are corrected by that"

    def __repr__(self) -> str:
        return f"<Skew {self._behind:+.0f} s · times shifted by {self.shift:+.0f} s>"
