"""JSON lines, for programs: absent means unknown, times are RFC 3339, durations milliseconds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from server_tracing.record import Request

from .screen import Screen

# Valid in a JSON string, printable for Python, and yet not to be seen: Hangul's fillers.
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0")
_encode = msgspec.json.Encoder().encode


def write(screen: Screen, fields: object) -> None:
    """One object, one line."""
    text = _encode(fields).decode()
    screen.line(text if text.isascii() and text.isprintable() else "".join(map(_shown, text)))


def request_fields(request: Request) -> dict[str, Any]:
    """What `requests --json` shows of a request: everything known, and its weight always."""
    fields = msgspec.to_builtins(request, builtin_types=(datetime,))
    del fields["record"]
    fields.setdefault("sampled", request.sampled)
    fields.setdefault("sample_rate", request.sample_rate)
    return fields  # type: ignore[no-any-return]


def known(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what is not known."""
    return {name: value for name, value in fields.items() if value is not None}


def _shown(letter: str) -> str:
    """Valid in a JSON string, and safe for a terminal: DEL, C1, bidi, zero width, tags spelt out."""
    if letter.isprintable() and letter not in _FILLERS:
        return letter
    units = letter.encode("utf-16-be").hex()  # two of them beyond 16 bits, as JSON has it
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
