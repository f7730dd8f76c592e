"""Whatever an application hands over becomes text and numbers of a bounded size; nothing raises."""

from __future__ import annotations

import enum
import math
import uuid
from collections import OrderedDict, UserString
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_tracing.inside.values import DEPTH, ITEMS, LABEL, LONG_TEXT, NODES, TEXT, label, scalar, tree


class Colour(enum.IntEnum):
    RED = 3


class Shy(str):
    def __str__(self):
        raise RuntimeError("no")


class Hostile:
    def __repr__(self):
        raise RuntimeError("no")

    __str__ = __index__ = __len__ = __iter__ = __repr__


class BadMapping(dict):
    def __iter__(self):
        raise RuntimeError("no")


KEPT = ["text", "", 0, -1, 2**63, True, False, 1.5, math.inf]
SHOWN = [
    (2**64, str(2**64)),
    (-(2**63) - 1, str(-(2**63) - 1)),
    (None, "None"),
    (Colour.RED, 3),
    (Shy("shy"), "shy"),
    (Decimal("1.50"), "1.50"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (b"\xff", "b'\\xff'"),
    ("\ud800", "\\ud800"),
    ("é", "é"),
    (UserString("u"), "u"),
    (Hostile(), "(cannot be shown)"),
    (10**5000, "(cannot be shown)"),
    ([1, 2], "[1, 2]"),
]


@pytest.mark.parametrize("value", KEPT)
def test_scalars_are_kept(value):
    """Text, whole numbers of 64 bits, floats and truth values, with their type."""
    assert scalar(value) == value
    assert type(scalar(value)) is type(value)


@pytest.mark.parametrize(("value", "shown"), SHOWN, ids=[str(number) for number in range(len(SHOWN))])
def test_the_rest_is_shown(value, shown):
    """As a plain type that every backend takes."""
    assert scalar(value) == shown
    assert type(scalar(value)) in (str, int)


def test_nan_stays_a_number():
    """Backends whose JSON has none leave it out."""
    assert math.isnan(scalar(math.nan))


def test_texts_are_cut():
    """Also those that a giant container makes."""
    assert len(scalar("x" * 10_000)) == TEXT
    assert len(scalar(list(range(10**6)))) < 100
    assert len(label("x" * 10_000)) == LABEL
    assert label(5) == "5"


def test_trees_are_kept_within_bounds():
    """Depth, items and nodes; what is left out is counted in its place."""
    assert tree({"a": [1, None, {"b": (2.5, True)}], 3: {4}}) == {
        "a": [1, None, {"b": [2.5, True]}],
        "3": [4],
    }
    assert tree(OrderedDict(a=1)) == {"a": 1}
    assert tree(list(range(ITEMS + 5)))[-1] == "... and 5 more"
    assert tree(dict.fromkeys(range(ITEMS + 5), 0))["..."] == "... and 5 more"
    assert len(tree("x" * 10**6)) == LONG_TEXT
    assert tree(BadMapping(a=1)) == "(cannot be shown)"
    assert tree([Hostile()]) == ["(cannot be shown)"]


def test_trees_that_contain_themselves_end():
    """At the deepest level that is shown."""
    loop: list[object] = []
    loop.append(loop)
    shown, depth = tree(loop), 0
    while isinstance(shown, list):
        shown, depth = shown[0], depth + 1
    assert depth == DEPTH


def test_wide_trees_of_trees_end():
    """A hundred lists of a hundred lists of a hundred are a million values."""
    wide = [[[0] * 100] * 100] * 100
    assert len(msgspec.json.encode(tree(wide))) < NODES * 20


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
)


@settings(deadline=None)
@given(anything)
def test_whatever_it_is_it_can_be_encoded(value):
    """By the journal's encoding."""
    msgspec.msgpack.encode((scalar(value), tree(value), label(value)))
