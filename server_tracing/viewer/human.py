"""Numbers, times and texts the way people read them; everything a terminal would obey, made visible."""

from __future__ import annotations

import unicodedata
from datetime import datetime

ELLIPSIS = "…"
RATES = {"s": 1, "min": 60, "h": 3600}


def duration(milliseconds: float | None) -> str:
    """Three digits and a unit."""
    if milliseconds is None:
        return "-"
    if milliseconds < 999.5:
        return f"{_three(milliseconds)} ms"
    seconds = milliseconds / 1000
    if seconds < 59.95:
        return f"{_three(seconds)} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours < 48 else f"{hours // 24}d {hours % 24}h"


def ago(moment: datetime, now: datetime) -> str:
    seconds = (now - moment).total_seconds()
    return "just now" if seconds < 1 else f"{coarse(seconds)} ago"


def coarse(seconds: float) -> str:
    """A span of time to its biggest unit or two."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86_400
    if minutes < 60:
        return f"{minutes:.0f} min"
    return f"{hours:.3g} h" if hours < 48 else f"{days:.3g} days"


def size(count: float | None) -> str:
    """Bytes, in the powers of two that memory comes in."""
    if count is None:
        return "-"
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{_three(count)} {unit}"
        count /= 1024
    return f"{_three(count)} GiB"


def number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def share(part: int, whole: int) -> str:
    """A percentage that is 0 only for none and 100 only for all."""
    if not part or not whole:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "<0.1 %"
    if part < whole and percent > 99.9:
        return ">99.9 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


def rate(per_second: float, unit: str) -> str:
    """Per `unit`, one of RATES: in a column all are per the same."""
    value = per_second * RATES[unit]
    return f"<0.01/{unit}" if 0 < value < 0.005 else f"{_three(value)}/{unit}"


def rate_unit(per_second: float) -> str:
    """The shortest unit in which this is at least one."""
    return next((unit for unit, seconds in RATES.items() if per_second * seconds >= 1), "h")


def clock(moment: datetime, today: datetime) -> str:
    """Local time, with the day only where it is another one."""
    local = moment.astimezone()
    stamp = f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"
    return stamp if local.date() == today.astimezone().date() else f"{local:%b %d} {stamp}"


def full_time(moment: datetime) -> str:
    """Local time with its day, the same width always."""
    local = moment.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d}"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def visible(text: str) -> str:
    """One line in which nothing acts on a terminal and nothing hides: no escapes, no bidi, no zero width."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def width(text: str) -> int:
    """The columns a visible text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def clip(text: str, columns: int) -> str:
    """At most so many columns, the last of them an ellipsis if something is missing."""
    if width(text) <= columns:
        return text
    kept, room = [], columns - 1
    for letter in text:
        room -= _columns(letter)
        if room < 0:
            break
        kept.append(letter)
    return "".join(kept) + ELLIPSIS if columns > 0 else ""


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _escaped(letter: str) -> str:
    code = ord(letter)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _three(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
