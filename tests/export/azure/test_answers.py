"""Answers: whatever a service, a proxy or a stranger says, every item has one fate."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from server_tracing.export.azure.answers import NotAReceiptError, Ruling, retry_after, ruling
from server_tracing.export.azure.wire import Reply

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
ERRORS = st.lists(
    st.fixed_dictionaries(
        {
            "index": st.integers(-2, 12),
            "statusCode": st.sampled_from([0, 200, 400, 401, 429, 439, 500, 10**9]),
        },
        optional={"message": st.none() | st.text(max_size=300)},
    ),
    max_size=12,
)
RECEIPTS = st.fixed_dictionaries(
    {"itemsReceived": st.integers(0, 12), "itemsAccepted": st.integers(-2, 12), "errors": ERRORS | st.none()}
)
BODIES = st.binary(max_size=200) | (RECEIPTS | JSON).map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(st.sampled_from(["retry-after", "date", "location"]), st.text(max_size=40))


@given(st.integers(100, 999), HEADERS, BODIES, st.integers(1, 10))
def test_every_item_is_delivered_waits_or_is_refused(status, headers, body, count):
    """And nothing is both; whoever has to wait knows why; a sentence is one line."""
    try:
        ruled = ruling(Reply(status, headers, body), count)
    except NotAReceiptError:
        assert status == 206
        return
    assert ruled.later | set(ruled.refused) <= set(range(count))
    assert not ruled.later & set(ruled.refused)
    assert bool(ruled.later) == bool(ruled.trouble)
    assert (ruled.trouble + ruled.remedy).isprintable()
    assert all(refusal.said.isprintable() and refusal.reason for refusal in ruled.refused.values())
    if status >= 300:
        assert ruled.split or len(ruled.later) + len(ruled.refused) == count


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_retry_after_is_a_time_or_nothing(said, date):
    """Never negative, never an exception."""
    told = retry_after(Reply(503, {"retry-after": said, "date": date}, b""))
    assert told is None or told >= 0


def test_rulings_of_several_posts_add_up():
    """The numbers of the later ones go on from those of the earlier."""
    first, second = Ruling(frozenset({1}), trouble="a"), Ruling(frozenset({0}), trouble="b", retry_after=5)
    both = first.with_more(second, 3)
    assert (both.later, both.trouble, both.retry_after) == ({1, 3}, "a", 5)
