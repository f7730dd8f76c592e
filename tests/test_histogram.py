"""Percentiles from buckets."""

from __future__ import annotations

import math

import pytest

from server_tracing.store.histogram import LAST, Histogram, bucket, middle


@pytest.mark.parametrize("duration", [0.0101, 0.5, 1, 9.99, 10, 123.4, 1000, 30_000, 3_600_000])
def test_a_bucket_stands_for_its_durations_within_five_percent(duration):
    """Whatever the magnitude."""
    assert middle(bucket(duration)) == pytest.approx(duration, rel=0.0489)


@pytest.mark.parametrize("duration", [0, -5, 0.01, math.nan])
def test_nothing_and_nonsense_are_the_first_bucket(duration):
    """A clock that stepped back must not raise."""
    assert bucket(duration) == 0


def test_what_is_endless_is_the_last_bucket():
    """There is a last one, also for infinity."""
    assert bucket(math.inf) == bucket(1e30) == LAST


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_percentiles_are_those_of_the_sorted_durations_within_five_percent(share):
    """Nearest rank: the smallest duration that the share does not exceed."""
    durations = [1.003**number for number in range(2000)]
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    exact = durations[math.ceil(share * len(durations)) - 1]
    assert histogram.percentile(share) == pytest.approx(exact, rel=0.0489)


def test_one_of_hundred_is_above_the_99th_percentile():
    """The rank is exact, not rounded up into the outlier."""
    histogram = Histogram({bucket(10): 99, bucket(5000): 1})
    assert histogram.percentile(0.99) == pytest.approx(10, rel=0.0489)
    assert histogram.percentile(0.991) == pytest.approx(5000, rel=0.0489)


def test_nothing_has_no_percentile():
    """None, not zero."""
    assert Histogram().percentile(0.5) is None


def test_merging_adds_counts():
    """Minutes and routes add up."""
    histogram = Histogram({3: 1})
    histogram.merge({3: 2, 4: 5})
    assert histogram.counts == {3: 3, 4: 5}
    assert repr(histogram) == "<Histogram 8 durations in 2 buckets>"
