"""Says what the service refuses and why: each reason once, and again when that was an hour ago."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

AGAIN = 3600.0
MOST = 50  # reasons remembered; the service words them
log = logging.getLogger("server_tracing.export")


class Refusals:
    """What was refused since it was last said."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def tell(self, reasons: dict[str, int]) -> None:
        """Log the reasons that are new."""
        now = self._clock()
        for reason, count in reasons.items():
            if now - self._said.get(reason, -AGAIN) < AGAIN:
                continue
            if len(self._said) >= MOST:
                self._said.clear()
            self._said[reason] = now
            log.warning("Application Insights refuses items (%d now): %s", count, reason)
