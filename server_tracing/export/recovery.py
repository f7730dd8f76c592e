"""`server-tracing recover`: a worker without requests, with a journal in which it counts what it delivers of
others."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from server_tracing.config import Config, Loaded
from server_tracing.journal.journals import Journals
from server_tracing.store import StoreError

from .exporter import Exporter
from .heirs.deaths import Ask
from .local import Opener
from .pipeline import Process, assemble
from .reader import Reader, Sink
from .sending.spool import Spool

log = logging.getLogger("server_tracing.export")

JOURNAL = 64 << 10
WAIT = 30.0  # seconds without progress after which it gives up on a backend


class Summary(NamedTuple):
    """What a recovery came to."""

    journals: int  # read to their end, counted and removed
    requests: dict[str, int]  # delivered, by exporter
    killed: int  # requests that were in flight in them
    spooled: dict[str, int]  # still waiting on disk, by exporter
    left: int  # journals that could not be finished now
    troubles: dict[str, str]  # what an exporter says is wrong


def recover(
    loaded: Loaded,
    *,
    reasons: Ask | None = None,
    exporters: Sequence[Exporter] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Summary:
    """Deliver, with today's settings, everything that dead workers left in this state directory."""
    config = loaded.config
    service = config.service or "recover"
    journals = Journals.of(config, service)
    journals.sweep()
    journal = journals.create(journals.origin("recover"), JOURNAL)
    reader, sinks = assemble(
        config, journal, journals, Process(reasons=reasons), exporters, any_destination=True
    )
    living = {seen.journal.origin.destinations for seen in journals.look() if seen.alive}
    for sink in sinks:
        if sink.spool is not None:
            _take_over(sink.spool, living)
    summary = _work_off(reader, sinks, clock, sleep)
    if not living and not summary.left:
        _write_off(config, sinks)
    return summary


def _work_off(
    reader: Reader, sinks: Sequence[Sink], clock: Callable[[], float], sleep: Callable[[float], None]
) -> Summary:
    before, since = None, clock()
    while clock() - since < WAIT:
        reader.wake()
        state = (reader.claims.finished, reader.delivered, reader.waiting())
        if reader.at_rest:
            break
        if state != before:
            before, since = state, clock()
        sleep(0.05)
    claims = reader.claims
    left, waiting, delivered = len(claims.adopted), reader.waiting(), reader.delivered
    troubles = {sink.name: sink.trouble for sink in sinks if sink.trouble}
    reader.finish(2.0)
    return Summary(claims.finished, delivered, claims.killed, waiting, left, troubles)


def _write_off(config: Config, sinks: Sequence[Sink]) -> None:
    """Nobody is at work but us: what is still called spooled, and stands on no disk, somebody has deleted."""
    ledger = Opener(config)
    try:
        totals = ledger.store.totals()
        for sink in sinks:
            pending = totals.exporters.get(sink.name, {}).get("spooled", 0)
            gone = pending - sink.spool.waiting() if sink.spool is not None else 0
            if gone > 0:
                ledger.store.settle(sink.name, {"spooled": -gone, "dropped": {"vanished": gone}})
                log.warning("exporter %s: %d requests are gone from its spool: deleted", sink.name, gone)
    except StoreError as error:
        log.debug("what vanished cannot be counted now: %s", error)
    finally:
        ledger.close()


def _take_over(spool: Spool, living: set[str]) -> None:
    """What a changed deployment left on disk, in the folders that no living worker fills."""
    above, own = os.path.split(spool.folder)
    label = own.rpartition("-")[0]
    try:
        names = sorted(os.listdir(above))
    except OSError:
        return
    for name in names:
        exporter, _, destination = name.rpartition("-")
        if exporter == label and name != own and destination not in living:
            spool.take_over(os.path.join(above, name))
