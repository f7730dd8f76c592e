"""Patterns with * and ?: the reference vectors, agreement with an obvious matcher, and bounded time."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.naming.wildcard import Wildcard

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vectors.json").read_text())["wildcard"]


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: f"{case['pattern']} {case['text']}")
def test_patterns_match_as_in_x_ray(case: dict[str, Any]) -> None:
    """Case-insensitive, whole text, nothing special but * and ?."""
    assert Wildcard(case["pattern"]).matches(case["text"]) is case["match"]


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "x", False),
        ("*", "", True),
        ("**", "", True),
        ("a*a", "a", False),
        ("*ab*b", "ab", False),
        ("*?", "", False),
        ("*?*", "x", True),
        ("[ab]+(x)|\\d", "[AB]+(X)|\\D", True),
        ("/a*", "/a\nb", True),
        ("h\u00f6st", "H\u00d6ST", True),
        ("?", "\U0001f980", True),
    ],
)
def test_the_corners(pattern: str, text: str, expected: bool) -> None:
    """Empty runs, overlapping pieces, characters that mean something to a regular expression."""
    assert Wildcard(pattern).matches(text) is expected


def obviously(pattern: str, text: str) -> bool:
    """The definition, written down."""

    @cache
    def fits(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(text)
        if pattern[i] == "*":
            return fits(i + 1, j) or (j < len(text) and fits(i, j + 1))
        return j < len(text) and pattern[i] in ("?", text[j]) and fits(i + 1, j + 1)

    return fits(0, 0)


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=10))
def test_patterns_mean_what_they_say(pattern: str, text: str) -> None:
    """The quick way and the obvious way agree."""
    assert Wildcard(pattern).matches(text) is obviously(pattern, text)


def test_no_text_makes_a_pattern_slow() -> None:
    """Twenty stars over 64 KiB that almost match: a matcher that backtracks would still be at it tomorrow."""
    assert not Wildcard("*a" * 20 + "b").matches("a" * 65_536)


def test_an_operator_can_read_the_pattern() -> None:
    """As it was given."""
    assert repr(Wildcard("*.Example.com")) == "<Wildcard *.Example.com>"
