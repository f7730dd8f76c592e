"""A trace as a waterfall: what happened within what, and when, on one scale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from server_tracing.record import FinishedSpan, Request

from .human import clip, duration, visible, width
from .requests import OUTCOME_STYLES, target
from .screen import Screen

UNBOUNDED = 100  # columns in a pipe
DEEPEST = 12  # levels that are indented
NAMES = 0.4  # of the line, at most
MOST = 200  # lines


class Bar(Struct):
    """One line: a request or a span, from and to in ms; `to` is None while it has not ended."""

    id: str
    parent: str
    name: str
    start: datetime
    took: float | None
    styles: tuple[str, ...] = ()
    depth: int = 0


def draw(screen: Screen, requests: Sequence[Request]) -> None:
    """All of a trace, parents before children, in the order of their beginnings."""
    bars = list(nested([bar for request in requests for bar in _bars(request)]))
    zero = min(bar.start for bar in bars)
    whole = max(max(_begin(bar, zero) + (bar.took or 0) for bar in bars), 0.001)
    names, room = _columns(screen, bars)
    for bar in bars[:MOST]:
        label = clip(_indent(bar) + bar.name, names)
        shape = _shape(screen, _begin(bar, zero) / whole, bar.took, whole, room)
        took = duration(bar.took) if bar.took is not None else "not ended"
        padding = " " * (names - width(label))
        screen.line(f"  {label}{padding}  {screen.style(shape, *(bar.styles or ('cyan',)))}  {took:>9}")
    if len(bars) > MOST:
        screen.line(screen.style(f"  ... and {len(bars) - MOST} more", "dim"))


def nested(bars: Iterable[Bar]) -> Iterator[Bar]:
    """Depth first. What names a parent that is not there stands at the top; so does one of a circle."""
    waiting = sorted(bars, key=lambda bar: bar.start)
    known = {bar.id for bar in waiting}
    children: dict[str, list[Bar]] = {}
    for bar in waiting:
        children.setdefault(bar.parent if bar.parent in known else "", []).append(bar)
    seen: set[int] = set()
    for top in [*children.get("", []), *waiting]:
        yield from _below(top, children, seen)


def _below(top: Bar, children: dict[str, list[Bar]], seen: set[int]) -> Iterator[Bar]:
    stack = [(top, 0)]
    while stack:
        bar, depth = stack.pop()
        if id(bar) in seen:
            continue
        seen.add(id(bar))
        bar.depth = depth
        yield bar
        stack += [(child, depth + 1) for child in reversed(children.get(bar.id, []))]


def _bars(request: Request) -> Iterator[Bar]:
    styles = OUTCOME_STYLES.get(request.outcome, ("green",))
    took = None if request.outcome == "running" else request.duration_ms
    yield Bar(request.span_id, request.parent_id or "", target(request), request.start, took, styles)
    for span in request.spans:
        yield Bar(
            span.span_id, span.parent_id, visible(span.name), span.start, span.duration_ms, _failed(span)
        )


def _failed(span: FinishedSpan) -> tuple[str, ...]:
    return ("red",) if span.exception else ("yellow",) if span.duration_ms is None else ()


def _begin(bar: Bar, zero: datetime) -> float:
    return (bar.start - zero) / timedelta(milliseconds=1)


def _indent(bar: Bar) -> str:
    return "  " * min(bar.depth, DEEPEST)


def _columns(screen: Screen, bars: Sequence[Bar]) -> tuple[int, int]:
    """The room for names, and for bars."""
    line = screen.width or UNBOUNDED
    names = min(max(width(_indent(bar) + bar.name) for bar in bars), int(line * NAMES))
    return names, max(8, line - names - 2 - 2 - 2 - 9)


def _shape(screen: Screen, begin: float, took: float | None, whole: float, room: int) -> str:
    """A bar of `room` columns; one that has not ended runs to the edge."""
    full, open_end = ("━", "╌") if screen.draws else ("=", "-")
    first = min(int(begin * room), room - 1)
    last = room if took is None else min(room, max(first + 1, round((begin + took / whole) * room)))
    return " " * first + (open_end if took is None else full) * (last - first) + " " * (room - last)
