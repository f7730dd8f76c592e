"""`server-tracing requests`: one line per request, the newest first; or, following, as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NoReturn

from server_tracing.record import Request
from server_tracing.store import Filter, StoreError, View

from . import lines
from .human import clock, duration, full_time, visible
from .screen import Screen
from .table import Cell, Column, Table

SHORT_ID = 12  # digits of a trace id on a terminal: enough for `trace`, 8 of them are the time
WIDE = 120  # columns from which on there is room for the service and the worker
NARROW = 72  # columns up to which the request itself needs the room of its trace's id
POLL = 0.4  # seconds between looks while following; workers store that often
OUTCOME_STYLES = {
    "error": ("red",),
    "killed": ("red", "bold"),
    "rejected": ("yellow",),
    "disconnected": ("yellow",),
    "running": ("cyan",),
}


def show(screen: Screen, requests: Iterable[Request], *, as_json: bool, now: datetime) -> int:
    """The requests in the order given, those that run with where they are; how many there were."""
    if as_json:
        return _show_json(screen, requests)
    stacks: dict[int, str] = {}

    def rows() -> Iterator[Sequence[Cell]]:
        for number, request in enumerate(requests):
            if request.outcome == "running" and request.stack:
                stacks[number] = request.stack
            yield _row(screen, request, now)

    def below(number: int) -> None:
        screen.block(stacks.pop(number, ""))

    return _table(screen).print(rows(), below)


def follow(
    screen: Screen,
    view: View,
    wanted: Filter,
    *,
    latest: Sequence[Request],
    mark: int,
    as_json: bool,
    reopen: Callable[[], View],
    sleep: Callable[[float], None] = time.sleep,
) -> NoReturn:
    """The latest, the oldest of them first, and what arrives after `mark`, until interrupted; also in a store
    that takes the place of the one that was open."""
    table = _table(screen)
    arrived = list(latest)
    while True:
        found = sorted((one for one in arrived if wanted.matches(one)), key=lambda one: one.start)
        if as_json:
            _show_json(screen, found)
        else:
            table.print([_row(screen, request, datetime.now().astimezone()) for request in found])
        arrived, mark = view.arrivals(mark)
        if not arrived:
            sleep(POLL)
        if not arrived and not view.stands:
            with suppress(StoreError):  # there is none yet
                gone, view, mark = view, reopen(), 0
                gone.close()


def _show_json(screen: Screen, requests: Iterable[Request]) -> int:
    count = 0
    for request in requests:
        lines.write(screen, lines.request_fields(request))
        count += 1
    screen.flush()
    return count


def _table(screen: Screen) -> Table:
    return Table(screen, [*_columns(screen), Column("REQUEST")])


def _columns(screen: Screen) -> Iterator[Column]:
    yield Column("TIME")
    yield Column("RESULT")
    yield Column("TOOK", right=True)
    if not _is_narrow(screen):
        yield Column("TRACE")
    if _is_wide(screen):
        yield Column("SERVICE")
        yield Column("WORKER", right=True)


def _is_wide(screen: Screen) -> bool:
    return screen.width is None or screen.width >= WIDE


def _is_narrow(screen: Screen) -> bool:
    return screen.width is not None and screen.width <= NARROW


def _row(screen: Screen, request: Request, now: datetime) -> Sequence[Cell]:
    terminal = screen.is_terminal
    cells = [
        Cell(clock(request.start, now) if terminal else full_time(request.start), ("dim",)),
        result(request),
        Cell(duration(request.duration_ms)),
    ]
    if not _is_narrow(screen):
        cells.append(Cell(request.trace_id[:SHORT_ID] if terminal else request.trace_id, ("dim",)))
    if _is_wide(screen):
        cells += [Cell(visible(request.service)), Cell(str(request.worker_pid), ("dim",))]
    return [*cells, Cell(target(request), (), note(request), ("dim",))]


def result(request: Request) -> Cell:
    """The status, and the outcome where it is not simply ok."""
    status = str(request.status) if request.status else ""
    if request.outcome == "ok":
        return Cell(status or "-", _status_style(request.status))
    return Cell(f"{status} {request.outcome}".strip(), OUTCOME_STYLES.get(request.outcome, ()))


def _status_style(status: int | None) -> tuple[str, ...]:
    if status and status >= 500:
        return ("red",)
    return ("yellow",) if status and status >= 400 else ()


def target(request: Request) -> str:
    """Method, path and query, on one line whatever is in them."""
    where = (request.path or "") + (f"?{request.query}" if request.query else "")
    kind = request.scheme.upper() if request.scheme in ("ws", "wss") else request.method
    return visible(" ".join(filter(None, (kind, where)))) or "(not understood)"


def note(request: Request) -> str:
    """Why it is not an ordinary request."""
    if request.exception is not None:
        return visible(f"{request.exception.type}: {request.exception.message}".removesuffix(": "))
    return visible(request.reason or "")
