"""What people write for sizes, durations, shares, rates, switches and lists, and how we write them back.

A reader takes what a variable (text) or a TOML file (text, number, boolean, array) holds and raises
`ValueError` for everything it does not understand; the caller knows the setting and words the complaint.
"""

from __future__ import annotations

import math
import re

from msgspec import Struct

_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Zµ]*)\s*")

# The bare letters and KiB count in 1024, KB in 1000, as `dd`, `docker` and IEC 80000-13 have it.
_BYTES = {
    **dict.fromkeys(("", "b"), 1),
    **{f"{letter}{suffix}": 1024**n for n, letter in enumerate("kmgt", 1) for suffix in ("", "i", "ib")},
    **{f"{letter}b": 1000**n for n, letter in enumerate("kmgt", 1)},
}
_SECONDS = {
    **dict.fromkeys(("us", "µs"), 1e-6),
    "ms": 1e-3,
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}
_ON = frozenset(("1", "true", "yes", "on", "y", "t"))
_OFF = frozenset(("0", "false", "no", "off", "n", "f"))


class Rate(Struct, frozen=True):
    """So many per so many seconds."""

    count: float
    per_seconds: float = 1.0

    def __str__(self) -> str:
        per = duration_text(self.per_seconds)
        return f"{self.count:g}/{per[1:] if per[1:].isalpha() and per[0] == '1' else per}"


def switch(value: object) -> bool:
    """`1`/`0`, `true`/`false`, `yes`/`no`, `on`/`off`, in any case."""
    text = str(value).strip().lower()
    if isinstance(value, (bool, int, str)) and text in _ON | _OFF:
        return text in _ON
    raise ValueError


def size(value: object) -> int:
    """Bytes: `8MiB`, `64MB`, `1g`, or a plain number of them."""
    return int(_amount(value, _BYTES))


def duration(value: object) -> float:
    """Seconds: `250ms`, `10m`, `24h`, `1h30m`, or a plain number of them."""
    if not isinstance(value, str):
        return _number(value)
    if not value.strip():
        raise ValueError
    total, at = 0.0, 0
    while at < len(value):
        part = _AMOUNT.match(value, at)
        if part is None or (at and not part[2]):
            raise ValueError
        total, at = total + _amount(part[0], _SECONDS), part.end()
    return _finite(total)


def share(value: object) -> float:
    """A part of the whole, from 0 to 1: `0.05`, `5%`."""
    percent = isinstance(value, str) and value.rstrip().endswith("%")
    number = _number(str(value).rstrip()[:-1]) / 100 if percent else _number(value)
    if number > 1:
        raise ValueError
    return number


def whole(value: object) -> int:
    """A whole number that is not negative."""
    number = _number(value)
    if number != int(number):
        raise ValueError
    return int(number)


def rate(value: object) -> Rate:
    """So many per time: `10/s`, `100/m`, `5/10s`."""
    count, slash, per = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash or not per.strip():
        raise ValueError
    per = per.strip()
    seconds = duration(per if per[0].isdigit() else f"1{per}")
    if seconds <= 0:
        raise ValueError
    return Rate(_number(count), seconds)


def words(value: object) -> tuple[str, ...]:
    """A list: an array, or text with commas; `none` is the empty one (an empty variable is no variable)."""
    if isinstance(value, str):
        value = [] if value.strip().lower() == "none" else value.split(",")
    if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
        raise ValueError
    return tuple(dict.fromkeys(filter(None, map(str.strip, value))))


def size_text(value: int) -> str:
    """The shortest exact way to write a size."""
    for n, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value and value % 1024**n == 0:
            return f"{value // 1024**n}{unit}"
    return str(value)


def duration_text(value: float) -> str:
    """The shortest exact way to write a duration."""
    if 0 < value < 1:
        return f"{value * 1000:.10g}ms"
    for seconds, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if value and value % seconds == 0:
            return f"{value / seconds:.10g}{unit}"
    return f"{value:.10g}s"


def is_unicode(text: str) -> bool:
    """Can it be written as UTF-8? Other bytes are lone surrogates in what the system says (PEP 383)."""
    return text.isascii() or text.encode("utf-8", "ignore").decode() == text


def printable(text: str) -> str:
    """Text in one line that any terminal can take: control characters and lone surrogates spelt out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _amount(value: object, units: dict[str, int] | dict[str, float]) -> float:
    if not isinstance(value, str):
        return _number(value)
    parts = _AMOUNT.fullmatch(value)
    unit = units.get(parts[2].lower()) if parts else None
    if parts is None or unit is None:
        raise ValueError
    return _finite(float(parts[1]) * unit)


def _number(value: object) -> float:
    """A number that is not negative, given as one or as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError from None  # without Python's own words, which repeat the value
    if number < 0:
        raise ValueError
    return _finite(number)


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError
    return number
