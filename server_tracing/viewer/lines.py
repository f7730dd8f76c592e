"""JSON lines, for programs: absent means unknown, times are RFC 3339, durations milliseconds."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from server_tracing.record import Request

from .screen import Screen

# Valid in a JSON string, but not for a terminal: DEL, C1, soft hyphen, bidi, zero width, separators.
_UNSEEN = re.compile(
    "[\x7f-\xa0\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb]"
)
_encode = msgspec.json.Encoder().encode


def write(screen: Screen, fields: object) -> None:
    """One object, one line."""
    text = _encode(fields).decode()
    screen.line(text if text.isascii() and text.isprintable() else _UNSEEN.sub(_escape, text))


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


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
