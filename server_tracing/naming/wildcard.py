"""Patterns with `*` (any run of characters, also none) and `?` (exactly one); case does not matter.

Everything else is literal. Matching takes time in proportion to the text, whatever text arrives: what stands
between two stars is looked for once, leftmost, and never again (a lookahead that captures is what Python 3.10
has for an atomic group), so no pattern can be made to backtrack.
"""

from __future__ import annotations

import re


class Wildcard:
    """One pattern, made ready once."""

    __slots__ = ("_match", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._match = re.compile(_expression(pattern), re.IGNORECASE | re.DOTALL).fullmatch

    def matches(self, text: str | None) -> bool:
        """Whether the whole text fits; no text fits no pattern, not even `*`."""
        return text is not None and self._match(text) is not None

    def __repr__(self) -> str:
        return f"<Wildcard {self.pattern}>"


def _expression(pattern: str) -> str:
    first, *rest = (_literal(piece) for piece in pattern.split("*"))
    if not rest:
        return first
    *inner, last = rest
    leftmost = (f"(?=(?P<p{n}>.*?{piece}))(?P=p{n})" for n, piece in enumerate(filter(None, inner)))
    return f"{first}{''.join(leftmost)}.*{last}"


def _literal(piece: str) -> str:
    return ".".join(map(re.escape, piece.split("?")))
