"""`server-tracing stats`: per route, how many, how many failed, how long they took. Counts are exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from server_tracing.store import Counted
from server_tracing.store.histogram import Histogram

from . import lines
from .human import coarse, duration, full_time, number, plural, rate, rate_unit, share, visible
from .screen import Screen
from .table import Cell, Column, Table

PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
WORRYING = 0.01  # share of errors from which on it is shown in red


def show(
    screen: Screen, counted: Sequence[Counted], *, since: datetime, now: datetime, limit: int, as_json: bool
) -> None:
    """The busiest routes and the sum of all."""
    seconds = max(1.0, (now - since).total_seconds())
    shown = counted[:limit] if limit else counted
    if as_json:
        for one in shown:
            lines.write(screen, _fields(one, since, seconds))
    else:
        _show(screen, counted, shown, since, seconds)
    screen.flush()


def _show(
    screen: Screen, counted: Sequence[Counted], shown: Sequence[Counted], since: datetime, seconds: float
) -> None:
    total = _sum(counted)
    several = len({one.service for one in counted}) > 1
    shape = _Shape(several, seconds, rate_unit(total.count / seconds))
    rows = [_row(one, shape) for one in shown]
    if len(counted) > 1:
        rows.append([cell._replace(styles=(*cell.styles, "bold")) for cell in _row(total, shape)])
    Table(screen, list(_columns(several))).print(rows)
    left = plural(len(counted) - len(shown), "more route") if len(shown) < len(counted) else ""
    about = f"since {full_time(since)[:16]} ({coarse(seconds)})"
    screen.line(screen.style(" · ".join(filter(None, (about, left))), "dim"))


class _Shape(NamedTuple):
    """What all rows have in common."""

    several: bool  # services
    seconds: float
    unit: str


def _columns(several: bool) -> Iterator[Column]:
    for title in ("COUNT", "RATE", "ERRORS", *(name.upper() for name in PERCENTILES)):
        yield Column(title, right=True)
    if several:
        yield Column("SERVICE")
    yield Column("ROUTE")


def _row(one: Counted, shape: _Shape) -> list[Cell]:
    row = [
        Cell(number(one.count)),
        Cell(rate(one.count / shape.seconds, shape.unit), ("dim",)),
        _errors(one.errors, one.count),
        *_latencies(one.latencies),
    ]
    if shape.several:
        row.append(Cell(visible(one.service)))
    return [*row, Cell(visible(f"{one.method} {one.route}".strip()), (), _outcomes(one))]


def _sum(counted: Sequence[Counted]) -> Counted:
    total = Counted("", "", "all")
    for one in counted:
        total.count += one.count
        total.errors += one.errors
        total.latencies.merge(one.latencies.counts)
    return total


def _errors(errors: int, count: int) -> Cell:
    if not errors:
        return Cell("-", ("dim",))
    return Cell(share(errors, count), ("red",) if errors >= WORRYING * count else ())


def _latencies(latencies: Histogram) -> Iterator[Cell]:
    for part in PERCENTILES.values():
        yield Cell(duration(latencies.percentile(part)))


def _outcomes(one: Counted) -> str:
    """Those that say more than a status does."""
    told = sorted((name, count) for name, count in one.outcomes.items() if name not in ("ok", "error"))
    return ", ".join(f"{count:,} {name}" for name, count in told)


def _fields(one: Counted, since: datetime, seconds: float) -> dict[str, Any]:
    return lines.known(
        {
            "service": one.service,
            "method": one.method or None,
            "route": one.route,
            "count": one.count,
            "rate_per_second": round(one.count / seconds, 6),
            "errors": one.errors,
            "error_share": round(one.errors / one.count, 6),
            **{f"{name}_ms": _rounded(one.latencies.percentile(part)) for name, part in PERCENTILES.items()},
            "statuses": {str(status) if status else "none": n for status, n in sorted(one.statuses.items())},
            "outcomes": one.outcomes,
            "since": since,
        }
    )


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else float(f"{milliseconds:.3g}")
