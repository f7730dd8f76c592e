"""For how many requests a kept one stands, where no probability says so, and how many a second are kept.

A ratio of the trace id has a probability, and its inverse is the weight. A reservoir, a limited class and the
decisions of callers have none that is known, so there the share kept is measured, over windows that end with
each kept request: it stands for itself and for those of its class let go since the one kept before it. The
weights of a class then add up to exactly what was seen of it, less those let go since the last one kept
(never more than one window's worth, and gone with the worker). Which request ends a window depends on arrival
and chance, not on what became of it; only of callers that always say yes, beside others that always say no,
nothing can tell the rates.

A limit is a token bucket, not a count per second: after a first burst what it keeps is spread evenly, so that
in an outage each of ten a second stands for a tenth of the second, not the first for nearly all of it.
"""

from __future__ import annotations


class Share:
    """What is seen and kept of one class."""

    __slots__ = ("let_go",)

    def __init__(self) -> None:
        self.let_go = 0  # since the last one kept

    def settle(self, kept: bool) -> float:
        """Count one request; for a kept one, kept/seen of the window it ends."""
        if not kept:
            self.let_go += 1
            return 1.0
        seen, self.let_go = self.let_go + 1, 0
        return 1.0 / seen

    def __repr__(self) -> str:
        return f"<Share {self.let_go} not stood for>"


class Bucket:
    """Lets `count` through at once and as many again in every `per_seconds`."""

    __slots__ = ("_count", "_filled", "_per_second", "_tokens")

    def __init__(self, count: float, per_seconds: float, now: float) -> None:
        self._count = self._tokens = max(count, 1.0) if count else 0.0
        self._per_second = count / per_seconds
        self._filled = now

    def take(self, now: float) -> bool:
        """Whether one more may pass now."""
        earned = max(0.0, now - self._filled) * self._per_second
        self._tokens = min(self._count, self._tokens + earned)
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def __repr__(self) -> str:
        return f"<Bucket {self._tokens:.1f} of {self._count:g} left>"
