"""What an application may say, cut to what a record can hold: text, numbers, and trees of them.

Nothing here raises, whatever the objects do when they are asked what they are. Text is cut, numbers beyond
64 bits become text, and everything else is shown as `str` or, for containers, as a short `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from operator import index
from reprlib import Repr
from typing import Any

TEXT = 1000  # characters of an annotation: as many as X-Ray takes
LABEL = 200  # of a name or key
LONG_TEXT = 4000  # of a text in metadata
ITEMS, DEPTH, NODES = 100, 8, 500  # of metadata: per container, of containers, in all

Scalar = str | int | float | bool

_short = Repr()
_short.maxother = _short.maxstring = TEXT
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
_PLAIN = frozenset((float, bool))
_BRANCHES = frozenset((dict, list, tuple))  # asked first: an abstract class takes 1 us to say yes
_BUILT_IN = (dict, list, tuple, set, frozenset, bytes, bytearray)


def label(value: object) -> str:
    """A name or a key."""
    if type(value) is str and len(value) <= LABEL and value.isascii():
        return value
    return _text(value, LABEL)


def scalar(value: Any) -> Scalar:
    """An annotation's value."""
    kind = type(value)
    if kind in _PLAIN or (kind is int and _LEAST <= value <= _MOST):
        return value  # type: ignore[no-any-return]
    if kind is str:
        return _printable(value, TEXT)
    return _number(value, TEXT)


def tree(value: object) -> Any:
    """A value of metadata: text, numbers, None, and lists and mappings of them."""
    return _tree(value, DEPTH, _Budget(NODES))


class _Budget:
    """How many values are left."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


def _tree(value: Any, depth: int, budget: _Budget) -> Any:
    budget.left -= 1
    kind = type(value)
    if value is None or kind in _PLAIN or (kind is int and _LEAST <= value <= _MOST):
        return value
    if isinstance(value, str):
        return _printable(value, LONG_TEXT)
    try:
        if depth and (kind in _BRANCHES or isinstance(value, (Mapping, list, tuple, Set))):
            return _branch(value, depth - 1, budget)
    except Exception:  # noqa: BLE001 - a container that cannot be walked
        return "(cannot be shown)"
    return _number(value, LONG_TEXT)


def _branch(value: Any, depth: int, budget: _Budget) -> Any:
    """A container, as far as the bounds go; what is left out is counted in its place."""
    room = min(ITEMS, max(0, budget.left))
    more = f"... and {len(value) - room} more" if len(value) > room else ""
    if type(value) is dict or isinstance(value, Mapping):
        some = {label(key): _tree(value[key], depth, budget) for key, _ in zip(value, range(room))}  # noqa: B905
        return {**some, "...": more} if more else some
    items = [_tree(item, depth, budget) for item, _ in zip(value, range(room))]  # noqa: B905
    return [*items, more] if more else items


def _number(value: object, limit: int) -> Scalar:
    """A number of any type, or text."""
    try:
        if isinstance(value, float):
            return float.__float__(value)
        if hasattr(type(value), "__index__"):
            number = index(value)  # type: ignore[arg-type]
            if _LEAST <= number <= _MOST:
                return number
    except Exception:  # noqa: BLE001, S110 - a number that is none; shown as text, if it can be
        pass
    return _text(value, limit)


def _text(value: object, limit: int) -> str:
    try:
        if isinstance(value, str):
            return _printable(value, limit)
        return _printable(_short.repr(value) if isinstance(value, _BUILT_IN) else str(value), limit)
    except Exception:  # noqa: BLE001 - __str__ is anybody's code
        return "(cannot be shown)"


def _printable(text: str, limit: int) -> str:
    """Exactly a str, not too long, without what UTF-8 cannot say."""
    cut = text if type(text) is str else str.__str__(text)
    if len(cut) > limit:
        cut = cut[:limit]
    return cut if cut.isascii() else cut.encode("utf-8", "backslashreplace").decode()
