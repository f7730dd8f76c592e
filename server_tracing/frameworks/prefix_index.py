"""Finds the few patterns that may match a path among ten thousand: by the literal segments they begin with.

Some routers try one pattern after the other. Here they are asked about each request once more, and a scan of
a large application would cost the serving thread its interpreter; so only those patterns are tried that begin
like the path, in the order the router has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")

_PLAIN = re.compile(r"[A-Za-z0-9_/-]*")
_OPTIONAL = "?*{+"  # makes what stands before it no literal


class _Node(Generic[Item]):
    __slots__ = ("below", "items")

    def __init__(self) -> None:
        self.items: list[tuple[int, Item]] = []
        self.below: dict[str, _Node[Item]] = {}


class PrefixIndex(Generic[Item]):
    """Items with the text that every path they match begins with; `exact`: is nothing but that text."""

    def __init__(self, items: Iterable[tuple[str, bool, Item]]) -> None:
        self._root: _Node[Item] = _Node()
        self._count = 0
        for literal, exact, item in items:
            segments = literal.split("/")
            node = self._root
            for segment in segments if exact else segments[:-1]:
                node = node.below.setdefault(segment, _Node())
            node.items.append((self._count, item))
            self._count += 1

    def candidates(self, path: str) -> list[Item]:
        """What may match, in the order given."""
        node: _Node[Item] | None = self._root
        found = list(self._root.items)
        for segment in path.split("/"):
            node = node.below.get(segment) if node else None
            if node is None:
                break
            found += node.items
        found.sort(key=lambda numbered: numbered[0])
        return [item for _, item in found]

    def __repr__(self) -> str:
        return f"<PrefixIndex of {self._count}>"


def literal_of(template: str, variables: str) -> tuple[str, bool]:
    """The text of a template before the first of the characters that begin a variable; all of it?"""
    for at, letter in enumerate(template):
        if letter in variables:
            return template[:at], False
    return template, True


def literal_of_regex(regex: str) -> tuple[str, bool]:
    """The same of a regular expression, as far as it is certain."""
    if not regex.startswith("^") or "|" in regex:
        return "", False
    literal = _PLAIN.match(regex, 1)
    text = literal[0] if literal else ""
    following = regex[1 + len(text) :][:1]
    return (text[:-1] if following and following in _OPTIONAL else text), False
