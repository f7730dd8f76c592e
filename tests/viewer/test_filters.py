"""What people type to choose requests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from believable import NOON

from server_tracing.viewer.filters import choose, moment, outcomes, statuses, trace_prefix


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("404", [range(404, 405)]),
        ("5xx", [range(500, 600)]),
        ("5XX", [range(500, 600)]),
        ("500-503", [range(500, 504)]),
        ("4xx, 5xx", [range(400, 500), range(500, 600)]),
        ("none", [range(1)]),
    ],
)
def test_statuses_are_read_as_people_write_them(text, ranges):
    """One, a class, a range, several, none at all."""
    assert statuses(text) == ranges


@pytest.mark.parametrize("text", ["", "abc", "50", "5x", "500-", "xx", "4045"])
def test_what_is_no_status_is_said(text):
    """With what would be one."""
    with pytest.raises(ValueError, match="is no status: write 404, 5xx, 500-599 or none"):
        statuses(text)


def test_outcomes_are_the_six_names():
    """In any case, several with commas."""
    assert outcomes("Killed, error") == ["killed", "error"]
    with pytest.raises(ValueError, match="'dead' is no outcome: write ok, error,"):
        outcomes("dead")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", NOON - timedelta(minutes=10)),
        ("1h30m", NOON - timedelta(minutes=90)),
        ("2026-02-28T12:00:00Z", datetime(2026, 2, 28, 12, tzinfo=timezone.utc)),
        ("2026-02-28T12:00:00+02:00", datetime(2026, 2, 28, 10, tzinfo=timezone.utc)),
    ],
)
def test_times_are_how_long_ago_or_when(text, expected):
    """RFC 3339 or a duration."""
    assert moment(text, NOON) == expected


def test_a_time_of_day_is_the_last_one_there_was():
    """At 00:10, 23:50 was yesterday."""
    local = NOON.astimezone()
    earlier, later = local - timedelta(minutes=10), local + timedelta(minutes=10)
    assert moment(f"{earlier:%H:%M}", local) == earlier
    assert moment(f"{later:%H:%M}", local) == later - timedelta(days=1)


def test_a_range_of_statuses_that_ends_before_it_begins_is_none():
    """It would silently match nothing."""
    with pytest.raises(ValueError, match="'600-500' is no status: it ends before it begins"):
        statuses("600-500")


@pytest.mark.parametrize("text", ["yesterday", "25:00", "-5m", "99999999999d", "2026-13-01"])
def test_what_is_no_time_is_said(text):
    """With what would be one; also what overflows."""
    with pytest.raises(ValueError, match="is no time: write how long ago"):
        moment(text, NOON)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("6741A2B3", "6741a2b3"),
        ("6741a2b3c4d5e6f708192a3b4c5d6e7f", "6741a2b3c4d5e6f708192a3b4c5d6e7f"),
        ("1-6741a2b3-c4d5e6f708192a3b4c5d6e7f", "6741a2b3c4d5e6f708192a3b4c5d6e7f"),
        ("1-6741a2b3-c4d5", "6741a2b3c4d5"),
        ("1-6741", "6741"),
    ],
)
def test_trace_ids_are_taken_in_both_spellings(text, prefix):
    """W3C's and X-Ray's, whole or their beginning."""
    assert trace_prefix(text) == prefix


@pytest.mark.parametrize("text", ["", "xyz", "0" * 33, "1-6741a2b3-" + "0" * 25, "1-2-3-4"])
def test_what_is_no_trace_id_is_said(text):
    """Rather than finding nothing."""
    with pytest.raises(ValueError, match="is no trace id"):
        trace_prefix(text)


def test_options_narrow_down():
    """All in one filter; nothing typed is everything."""
    chosen = choose(
        now=NOON, status=["5xx", "404"], outcome=["error"], slower="1.5s", since="1h", trace="1-67"
    )
    assert chosen.statuses == (range(500, 600), range(404, 405))
    assert chosen.slower_ms == 1500
    assert chosen.since == NOON - timedelta(hours=1)
    assert chosen.trace == "67"
    assert choose(now=NOON) == choose(now=NOON, status=[], route="")
    with pytest.raises(ValueError, match="'soon' is no duration: write 500ms"):
        choose(now=NOON, slower="soon")
