"""`server-tracing health`: does every request add up, who is alive, and what waits to be delivered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from server_tracing.journal.ledger import Checkpoint
from server_tracing.record import Event, Origin, WorkerVitals
from server_tracing.store import Totals

from . import lines
from .accounts import Account, balance
from .human import clock, coarse, number, plural, size, visible
from .screen import Screen
from .table import Cell, Column, Table

EVENTS = 5


class Worker(Struct):
    """A journal and what is known of its worker."""

    origin: Origin
    checkpoint: Checkpoint
    alive: bool
    ours: bool  # today's settings deliver to where its settings did
    lost: int
    booted: datetime
    vitals: WorkerVitals | None = None


class Health(Struct):
    """Everything `health` shows."""

    state_dir: str
    workers: list[Worker]
    totals: Totals | None = None
    events: list[Event] = []
    store_bytes: int | None = None
    trouble: str = ""  # why the store could not be read
    by_udp: tuple[str, ...] = ()  # exporters that send by UDP

    @property
    def accounts(self) -> list[Account]:
        accounts = balance(self.totals, (worker.checkpoint for worker in self.workers))
        for account in accounts:
            account.by_udp = account.exporter in self.by_udp
        return accounts

    @property
    def is_empty(self) -> bool:
        return self.totals is None and not self.workers


def show(screen: Screen, health: Health, *, as_json: bool, now: datetime) -> bool:
    """Print it; does everything add up?"""
    accounts = health.accounts
    if as_json:
        lines.write(screen, _fields(health, accounts))
    else:
        _show_accounts(screen, accounts)
        _show_workers(screen, [worker for worker in health.workers if worker.alive], now)
        _show_left_behind(screen, [worker for worker in health.workers if not worker.alive])
        _show_events(screen, health.events[:EVENTS], now)
        _show_place(screen, health)
    screen.flush()
    return not any(account.missing for account in accounts) and not health.trouble


# ---------------------------------------------------------------- what became of requests

_COUNTS = ("seen", "excluded", "in_flight", "unsampled", "delivered", "dropped", "pending")


def _show_accounts(screen: Screen, accounts: Sequence[Account]) -> None:
    """A column per exporter, each an addition: what stands below `seen` is what became of it."""
    if not accounts:
        screen.line("No request has been counted yet.")
        return
    columns = [Column("REQUESTS"), *(Column(visible(one.exporter).upper(), right=True) for one in accounts)]
    Table(screen, [*columns, Column("")]).print(_account_rows(accounts))
    for account in accounts:
        if account.by_udp:
            told = f"{visible(account.exporter)}: delivered is handed over, by UDP; nobody says what arrived"
            screen.line(screen.style(told, "dim"))


def _account_rows(accounts: Sequence[Account]) -> Iterator[list[Cell]]:
    for name in _COUNTS:
        label = name.replace("_", " ")
        yield _account_row(label if name == "seen" else f"  {label}", [_count(one, name) for one in accounts])
        if name == "dropped":
            for reason in sorted({reason for one in accounts for reason in one.dropped}):
                counts = [one.dropped.get(reason, 0) for one in accounts]
                yield _account_row(f"    {visible(reason)}", counts, ("yellow",))
    verdicts = [_verdict(one.missing) for one in accounts]
    yield [Cell("adds up"), *verdicts, Cell("")]


def _count(account: Account, name: str) -> int:
    return sum(account.dropped.values()) if name == "dropped" else int(getattr(account, name))


def _account_row(label: str, counts: Sequence[int], styles: tuple[str, ...] = ()) -> list[Cell]:
    cells = [Cell(number(count), styles if count else ("dim",)) for count in counts]
    return [Cell(label, styles), *cells, Cell("")]


def _verdict(missing: int) -> Cell:
    if not missing:
        return Cell("yes", ("green",))
    return Cell(f"{missing:,} missing" if missing > 0 else f"{-missing:,} too many", ("red",))


# ---------------------------------------------------------------- workers

_WORKERS = (
    Column("WORKER", right=True),
    Column("UP", right=True),
    Column("IN FLIGHT", right=True),
    Column("SERVED", right=True),
    Column("MEMORY", right=True),
    Column("CPU", right=True),
    Column("THREADS", right=True),
    Column("FILES", right=True),
    Column("QUEUE", right=True),
    Column("SERVICE"),
)


def _show_workers(screen: Screen, workers: Sequence[Worker], now: datetime) -> None:
    screen.line()
    if workers:
        Table(screen, _WORKERS).print([_worker_row(worker, now) for worker in workers])
    else:
        screen.line("No worker is alive.")


def _worker_row(worker: Worker, now: datetime) -> list[Cell]:
    vitals = worker.vitals
    kind = " ".join(filter(None, (worker.origin.server, worker.origin.worker_class)))
    lost = f", {worker.lost:,} requests did not fit its journal" if worker.lost else ""
    return [
        Cell(str(worker.origin.pid)),
        Cell(coarse((now - worker.booted).total_seconds())),
        Cell(number(worker.checkpoint.in_flight)),
        Cell(number(vitals.served if vitals else None)),
        Cell(size(vitals.rss_bytes if vitals else None)),
        Cell("-" if vitals is None or vitals.cpu_percent is None else f"{vitals.cpu_percent:.0f} %"),
        Cell(number(vitals.threads if vitals else None)),
        Cell(number(vitals.open_files if vitals else None)),
        Cell(number(vitals.accept_queue if vitals else None)),
        Cell(visible(worker.origin.service), (), visible(kind + lost)),
    ]


def _show_left_behind(screen: Screen, dead: Sequence[Worker]) -> None:
    waiting = [worker for worker in dead if worker.ours]
    foreign = [worker for worker in dead if not worker.ours]
    if dead:
        screen.line()
    if waiting:
        what = plural(len(waiting), "journal of a dead worker waits", "journals of dead workers wait")
        screen.line(f"{what} for the next worker, or `server-tracing recover`: {_names(waiting)}")
    if foreign:
        what = plural(len(foreign), "journal was", "journals were")
        screen.line(
            f"{what} left behind by other settings (another service or exporters): {_names(foreign)}."
        )
        screen.line("`server-tracing recover` delivers them with today's settings.")


def _names(workers: Iterable[Worker]) -> str:
    return ", ".join(visible(f"{worker.origin.service} (pid {worker.origin.pid})") for worker in workers)


# ---------------------------------------------------------------- the rest


def _show_events(screen: Screen, events: Sequence[Event], now: datetime) -> None:
    if not events:
        return
    screen.line()
    columns = (Column("LATELY"), Column("WORKER", right=True), Column("WHAT"))
    Table(screen, columns).print(_event_row(event, now) for event in events)


def _event_row(event: Event, now: datetime) -> list[Cell]:
    why = f"{event.exception.type}: {event.exception.message}" if event.exception else event.detail
    styles = ("red",) if event.exception else ()
    return [
        Cell(clock(event.time, now), ("dim",)),
        Cell(str(event.worker_pid), ("dim",)),
        Cell(visible(event.what), styles, visible(why)),
    ]


def _show_place(screen: Screen, health: Health) -> None:
    screen.line()
    if health.trouble:
        screen.line(screen.style(health.trouble, "red"))
    gone = health.totals.workers if health.totals else 0
    told = (
        size(health.store_bytes) if health.store_bytes else "",
        f"{plural(gone, 'worker')} of the past counted",
    )
    screen.line(screen.style(f"{visible(health.state_dir)} · {' · '.join(filter(None, told))}", "dim"))


def _fields(health: Health, accounts: Sequence[Account]) -> dict[str, Any]:
    return lines.known(
        {
            "state_dir": health.state_dir,
            "store_bytes": health.store_bytes,
            "trouble": health.trouble or None,
            "workers_counted": health.totals.workers if health.totals else 0,
            "exporters": [_account_fields(account) for account in accounts],
            "workers": [_worker_fields(worker) for worker in health.workers],
            "events": health.events,
        }
    )


def _account_fields(account: Account) -> dict[str, Any]:
    counts = {name: getattr(account, name) for name in _COUNTS}
    handed_over = {"by_udp": True} if account.by_udp else {}
    return {"exporter": account.exporter, **counts, **handed_over, "adds_up": not account.missing}


def _worker_fields(worker: Worker) -> dict[str, Any]:
    origin = worker.origin
    return lines.known(
        {
            "journal": origin.id,
            "alive": worker.alive,
            "same_destinations": worker.ours,
            "pid": origin.pid,
            "service": origin.service,
            "server": origin.server or None,
            "worker_class": origin.worker_class or None,
            "booted": worker.booted,
            "in_flight": worker.checkpoint.in_flight,
            "seen": worker.checkpoint.seen,
            "lost": worker.lost,
            "vitals": worker.vitals,
        }
    )
