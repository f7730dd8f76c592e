"""The accounting identity: what became of every request, exporter by exporter, workers of the past included.

seen = excluded + in_flight + unsampled + delivered + dropped[reason] + pending
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from server_tracing.journal.ledger import Checkpoint
from server_tracing.store import Totals


class Account(Struct):
    """One exporter's."""

    exporter: str
    seen: int = 0
    excluded: int = 0
    in_flight: int = 0
    unsampled: int = 0
    delivered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    by_udp: bool = False  # delivered is no more than handed over

    @property
    def missing(self) -> int:
        """What the identity is off by: 0, or somebody has miscounted."""
        accounted = self.excluded + self.in_flight + self.unsampled + self.delivered + self.pending
        return self.seen - accounted - sum(self.dropped.values())

    def drop(self, reasons: dict[str, int]) -> None:
        for reason, count in reasons.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count


def balance(totals: Totals | None, checkpoints: Iterable[Checkpoint]) -> list[Account]:
    """Finished workers' totals and the journals there are, together."""
    accounts: dict[str, Account] = {}
    if totals is not None:
        for exporter in totals.exporters.keys() | totals.dropped.keys():
            _add_totals(_account(accounts, exporter), totals)
    for checkpoint in checkpoints:
        for exporter in checkpoint.exporters:
            _add_checkpoint(_account(accounts, exporter), checkpoint)
    return [accounts[name] for name in sorted(accounts)]


def _account(accounts: dict[str, Account], exporter: str) -> Account:
    return accounts.setdefault(exporter, Account(exporter))


def _add_totals(account: Account, totals: Totals) -> None:
    counts = totals.exporters.get(account.exporter, {})
    account.seen += counts.get("seen", 0)
    account.excluded += counts.get("excluded", 0)
    account.unsampled += counts.get("unsampled", 0)
    account.delivered += counts.get("delivered", 0)
    account.pending += counts.get("spooled", 0)
    account.drop(totals.dropped.get(account.exporter, {}))


def _add_checkpoint(account: Account, checkpoint: Checkpoint) -> None:
    tally = checkpoint.exporters[account.exporter]
    account.seen += checkpoint.seen
    account.excluded += checkpoint.excluded
    account.in_flight += checkpoint.in_flight
    account.unsampled += tally.unsampled
    account.delivered += tally.delivered
    account.pending += tally.pending
    account.drop(tally.dropped)
