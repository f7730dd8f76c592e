"""Properties: text under short keys, whatever the application said.

A value that is no text is written as JSON, and what is too long of it is left out in such a way that it stays
JSON: links and metadata are read by programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .schema import ID, KEY, MOST_PROPERTIES, VALUE, cut

_encode = msgspec.json.Encoder(enc_hook=str).encode


def add(properties: dict[str, str], values: Mapping[str, Any], prefix: str = "") -> None:
    """Put values under their keys, those that are there already winning, as long as there is room."""
    for key, value in values.items():
        if len(properties) >= MOST_PROPERTIES:
            return
        if key == "links" and isinstance(value, list):
            properties["_MS.links"] = json(list(map(_link, value)), VALUE)
        else:
            properties.setdefault(cut(f"{prefix}{key}", KEY), text(value))


def _link(link: Any) -> dict[str, str]:
    """A place in another trace, as the portal looks for it."""
    known = link if isinstance(link, Mapping) else {}
    told = {"operation_Id": known.get("trace_id", ""), "id": known.get("span_id", "")}
    return {name: cut(str(value), ID) for name, value in told.items()}


def text(value: object) -> str:
    """A value as a property."""
    if isinstance(value, str):
        return cut(value, VALUE)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(value)
    return json(value, VALUE)


def _number(value: float) -> str:
    try:
        return cut(repr(value), VALUE)
    except ValueError:  # an integer of more digits than Python converts
        return "(a very large number)"


def json(value: object, limit: int) -> str:
    """A value as JSON of at most `limit` UTF-16 units: of lists and tables the first entries that fit."""
    written = _written(value)
    if len(written) * 2 <= limit or cut(written, limit) == written:
        return written
    if isinstance(value, Mapping):
        pairs = (f"{_written(str(key))}:{_written(inner)}" for key, inner in value.items())
        return _joined("{}", pairs, limit)
    if isinstance(value, (list, tuple)):
        return _joined("[]", map(_written, value), limit)
    return _written(cut(written, limit // 6))  # a letter takes six at most: \u0000


def _written(value: object) -> str:
    try:
        return _encode(value).decode()
    except Exception:  # noqa: BLE001 - whatever the application put there: no reason to lose the request
        return _encode(repr(type(value))).decode()


def _joined(brackets: str, entries: Iterable[str], limit: int) -> str:
    room, kept = limit - 2, []
    for entry in entries:
        room -= (len(entry) if entry.isascii() else 2 * len(entry)) + 1
        if room < 0:
            break
        kept.append(entry)
    return f"{brackets[0]}{','.join(kept)}{brackets[1]}"
