"""Numbers, times and texts the way people read them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from believable import NOON

from server_tracing.viewer import human


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (None, "-"),
        (0, "0.00 ms"),
        (0.234, "0.23 ms"),
        (9.99, "9.99 ms"),
        (9.997, "10.0 ms"),
        (99.96, "100 ms"),
        (999.4, "999 ms"),
        (999.6, "1.00 s"),
        (59_940, "59.9 s"),
        (59_960, "1m 00s"),
        (3_599_600, "1h 00m"),
        (3_600_000 * 49, "2d 1h"),
    ],
)
def test_durations_have_three_digits_and_a_unit(milliseconds, shown):
    """Also where rounding makes it the next unit."""
    assert human.duration(milliseconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1024, "1.00 KiB"),
        (5 << 20, "5.00 MiB"),
        (3 << 40, "3072 GiB"),
    ],
)
def test_sizes_come_in_powers_of_two(count, shown):
    """As memory does."""
    assert human.size(count) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 10, "0 %"),
        (0, 0, "0 %"),
        (1, 100_000, "<0.1 %"),
        (99_999, 100_000, ">99.9 %"),
        (1, 3, "33 %"),
        (10, 10, "100 %"),
    ],
)
def test_shares_are_nothing_only_for_none_and_everything_only_for_all(part, whole, shown):
    """One failure in a million is not no failure."""
    assert human.share(part, whole) == shown


def test_rates_in_a_column_share_a_unit():
    """The shortest in which the sum is at least one."""
    assert human.rate_unit(2.0) == "s"
    assert human.rate_unit(0.5) == "min"
    assert human.rate_unit(1 / 7200) == "h"
    assert human.rate(0.001, "s") == "<0.01/s"
    assert human.rate(2.0, "s") == "2.00/s"


def test_the_day_is_shown_only_where_it_is_another_one():
    """In local time."""
    today = NOON.astimezone().replace(hour=12)
    assert human.clock(today, today) == "12:00:00.000"
    assert human.clock(today - timedelta(days=3), today).endswith("12:00:00.000")
    assert len(human.clock(today - timedelta(days=3), today)) == len("Feb 26 12:00:00.000")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("日本語", "日本語"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\r\nb\tc", "a\\x0d\\x0ab\\x09c"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("pay\u200bpal\ufeff", "pay\\u200bpal\\ufeff"),
        ("a\u2028b\xa0c", "a\\u2028b\\xa0c"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_nothing_acts_on_a_terminal_and_nothing_hides(text, shown):
    """Escape sequences, line ends, bidi and zero-width characters, surrogates."""
    assert human.visible(text) == shown
    assert human.visible(text).isprintable()


def test_clipping_counts_columns_not_characters():
    """East Asian characters take two, combining marks none."""
    assert human.clip("short", 5) == "short"
    assert human.clip("longer", 5) == "long…"
    assert human.clip("日本語", 5) == "日本…"
    assert human.width("e\u0301") == 1
    assert human.clip("x", 0) == ""


def test_words_follow_their_number():
    """One request, two requests."""
    assert human.plural(1, "request") == "1 request"
    assert human.plural(1234, "request") == "1,234 requests"
    assert human.plural(0, "journal waits", "journals wait") == "0 journals wait"


def test_how_long_ago_is_said_coarsely():
    """Seconds matter only at first."""
    assert human.ago(NOON, NOON) == "just now"
    assert human.ago(NOON, NOON + timedelta(seconds=42)) == "42 s ago"
    assert human.ago(NOON, NOON + timedelta(minutes=10)) == "10 min ago"
    assert human.ago(NOON, NOON + timedelta(hours=5)) == "5 h ago"
    assert human.ago(NOON, NOON + timedelta(days=3)) == "3 days ago"
