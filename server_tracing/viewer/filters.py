"""What people type to choose requests, as a `store.Filter`; a ValueError is one clear sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from server_tracing.record import Outcome
from server_tracing.store import Filter
from server_tracing.units import duration

OUTCOMES = tuple(outcome.name.lower() for outcome in Outcome)
_STATUS = re.compile(r"(?P<one>\d{3})|(?P<first>\d{3})-(?P<last>\d{3})|(?P<hundred>\d)xx", re.IGNORECASE)
_XRAY = re.compile(r"1-([0-9a-f]{1,8})(?:-([0-9a-f]{0,24}))?")
_HEX = re.compile(r"[0-9a-f]{1,32}")


def choose(
    *,
    now: datetime,
    status: Sequence[str] = (),
    outcome: Sequence[str] = (),
    route: str = "",
    path: str = "",
    service: str = "",
    slower: str = "",
    since: str = "",
    trace: str = "",
) -> Filter:
    """The filter that options describe; options of the same name add up, different ones narrow down."""
    return Filter(
        statuses=tuple(some for value in status for some in statuses(value)),
        outcomes=frozenset(name for value in outcome for name in outcomes(value)),
        route=route,
        path=path,
        service=service,
        slower_ms=milliseconds(slower) if slower else 0.0,
        since=moment(since, now) if since else None,
        trace=trace_prefix(trace) if trace else "",
    )


def statuses(text: str) -> list[range]:
    """`404`, `5xx`, `500-599`, `4xx,5xx`; `none` for requests that never got one."""
    return [_statuses(part.strip()) for part in text.split(",")]


def _statuses(text: str) -> range:
    if text.lower() == "none":
        return range(1)
    found = _STATUS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no status: write 404, 5xx, 500-599 or none.")
    if found["hundred"]:
        return range(int(found["hundred"]) * 100, int(found["hundred"]) * 100 + 100)
    first = int(found["one"] or found["first"])
    last = int(found["last"] or first)
    if last < first:
        raise ValueError(f"{text!r} is no status: it ends before it begins.")
    return range(first, last + 1)


def outcomes(text: str) -> list[str]:
    """One or several of the six names."""
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in OUTCOMES:
            raise ValueError(f"{name!r} is no outcome: write {', '.join(OUTCOMES[:-1])} or {OUTCOMES[-1]}.")
    return names


def moment(text: str, now: datetime) -> datetime:
    """`10m` ago, or a time: 2026-03-01T12:00:00Z, 2026-03-01 12:00, 12:00 (the last one there was)."""
    try:
        return now - timedelta(seconds=duration(text))
    except (ValueError, OverflowError):
        pass
    try:
        if re.fullmatch(r"\d?\d:\d\d(:\d\d)?", text):
            return _last_time(text, now)
        return datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00")).astimezone()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: write how long ago (10m, 2h) or when (2026-03-01T12:00:00Z, 12:00)."
        ) from None


def _last_time(text: str, now: datetime) -> datetime:
    hour, minute, *second = map(int, text.split(":"))
    local = now.astimezone()
    found = local.replace(hour=hour, minute=minute, second=second[0] if second else 0, microsecond=0)
    return found if found <= local else found - timedelta(days=1)


def trace_prefix(text: str) -> str:
    """How a trace id begins: hex digits, W3C's or X-Ray's spelling (1-6741a2b3-...)."""
    digits = text.strip().lower()
    xray = _XRAY.fullmatch(digits)
    if xray:
        first, rest = xray.groups()
        digits = first.zfill(8) + rest if rest else first
    if not _HEX.fullmatch(digits):
        raise ValueError(f"{text!r} is no trace id: it has up to 32 hex digits, or reads 1-xxxxxxxx-yyyy...")
    return digits


def milliseconds(text: str) -> float:
    try:
        return duration(text) * 1000
    except ValueError:
        raise ValueError(f"{text!r} is no duration: write 500ms, 1.5s or 2m.") from None
