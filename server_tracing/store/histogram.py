"""Latencies as counts in logarithmic buckets: what percentiles are computed from, whatever was sampled.

A bucket is 10 % wider than the one below it, so a percentile read from its middle is off by at most
4.9 %. Bucket 0 is everything up to 10 us, bucket 255 everything from about 100 hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log, sqrt

GROWTH = 1.1
SMALLEST = 0.01  # ms
LAST = 255
_SCALE = 1 / log(GROWTH)


def bucket(milliseconds: float) -> int:
    """The bucket a duration falls into."""
    if not milliseconds > SMALLEST:  # also NaN
        return 0
    return min(LAST, 1 + int(log(min(milliseconds, 1e12) / SMALLEST) * _SCALE))


def middle(number: int) -> float:
    """The duration, in ms, that stands for everything in a bucket."""
    return SMALLEST * GROWTH ** (number - 1) * sqrt(GROWTH) if number else SMALLEST


class Histogram:
    """Counts per bucket, and the percentiles they give."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, milliseconds: float) -> None:
        number = bucket(milliseconds)
        self.counts[number] = self.counts.get(number, 0) + 1

    def merge(self, counts: Mapping[int, int]) -> None:
        mine = self.counts
        for number, count in counts.items():
            mine[number] = mine.get(number, 0) + count

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def percentile(self, share: float) -> float | None:
        """The duration that `share` (0 to 1) of the requests did not exceed; None of nothing."""
        rank = max(1, -int(-share * self.total // 1))  # nearest rank: the smallest that reaches the share
        for number, below in _running(sorted(self.counts.items())):
            if below >= rank:
                return middle(number)
        return None

    def __repr__(self) -> str:
        return f"<Histogram {self.total} durations in {len(self.counts)} buckets>"


def _running(counts: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    below = 0
    for number, count in counts:
        below += count
        yield number, below
