"""Puts the exporter's side of a worker together, and that of `server-tracing recover`, which is a worker
without requests: it has a journal of its own, in which it counts what it delivers of others."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from server_tracing.config import Config, Loaded, table
from server_tracing.forwarding import addresses
from server_tracing.journal import Journal
from server_tracing.journal.journals import Journals
from server_tracing.sampling import Sampler, sampler_for
from server_tracing.sampling.central import Central
from server_tracing.store import StoreError

from .announcer import Announcer
from .chores import Carrier, Heads, Home, Vitals
from .complaints import Complaints, Losses
from .exporter import Exporter, Setup, traits
from .heirs.claims import Claims
from .heirs.deaths import Ask, Deaths, nobody
from .heirs.siblings import Siblings
from .local import LocalExporter, Opener
from .pace import Pace
from .reader import Reader, Sink
from .registry import Unavailable, create
from .routes import Applications, Routes
from .sending.inline import Inline
from .sending.sender import Sender
from .sending.spool import Spool
from .shape import Shaper
from .source import Source
from .stuck.in_flight import InFlight, Slot
from .stuck.lastwords import LastWords
from .stuck.watchdog import Watchdog, too_long
from .stuck.whereabouts import Whereabouts
from .wallclock import WallClock

log = logging.getLogger("server_tracing.export")

RECOVER_JOURNAL = 64 << 10
RECOVER_WAIT = 30.0  # seconds without progress after which `recover` gives up on a backend


class Pipeline:
    """A worker's exporter side, running."""

    def __init__(self, reader: Reader, sinks: Sequence[Sink]) -> None:
        self._reader = reader
        self._sinks = sinks

    def wake(self) -> None:
        """Have the reader look now."""
        self._reader.ring()

    def stop(self, seconds: float = 2.0) -> bool:
        """Deliver what can be delivered in `seconds`; what is left waits for the next start. All done?"""
        return self._reader.stop(seconds)

    def __repr__(self) -> str:
        return f"<Pipeline {self._reader!r} · {', '.join(map(repr, self._sinks))}>"


class Summary(NamedTuple):
    """What a recovery came to."""

    journals: int  # read to their end, counted and removed
    requests: dict[str, int]  # delivered, by exporter
    killed: int  # requests that were in flight in them
    spooled: dict[str, int]  # still waiting on disk, by exporter
    left: int  # journals that could not be finished now
    troubles: dict[str, str]  # what an exporter says is wrong


def start(
    loaded: Loaded,
    journal: Journal,
    journals: Journals,
    *,
    open_slots: Callable[[], Iterable[Slot]] = tuple,
    reasons: Ask | None = None,
    trusted_proxies: str | Iterable[str] = (),
    timeout: float | None = None,
    exporters: Sequence[Exporter] | None = None,
    sampler: Sampler | None = None,
    applications: Applications = tuple,
    whereabouts: Whereabouts | None = None,
) -> Pipeline:
    """Begin to export what this worker's journal gets, and what dead workers left. `sampler` is the one that
    also decides inside requests, where somebody asks there; `applications` are those this process serves;
    `whereabouts` finds where its requests are when they take too long."""
    reader, sinks = _assemble(
        loaded.config,
        journal,
        journals,
        open_slots,
        reasons,
        trusted_proxies,
        exporters,
        sampler,
        applications,
        whereabouts,
        stuck_after=too_long(loaded.config.capture.stuck_after, timeout),
        siblings=Siblings(journals),
    )
    reader.start()
    return Pipeline(reader, sinks)


def _assemble(
    config: Config,
    journal: Journal,
    journals: Journals,
    open_slots: Callable[[], Iterable[Slot]],
    reasons: Ask | None,
    trusted_proxies: str | Iterable[str],
    exporters: Sequence[Exporter] | None,
    sampler: Sampler | None = None,
    applications: Applications = tuple,
    whereabouts: Whereabouts | None = None,
    *,
    stuck_after: float = 0.0,
    siblings: Siblings | None = None,
    any_destination: bool = False,
) -> tuple[Reader, Sequence[Sink]]:
    proxies = addresses(trusted_proxies)
    routes = Routes(applications, config.capture.derive_routes)
    sampler, pace = sampler or sampler_for(config), Pace()
    service = journal.origin.service
    made = make_exporters(config, service, sampler.central) if exporters is None else exporters
    sinks = [_sink(exporter, config, journal) for exporter in made]

    def shaper(found: Journal) -> Shaper:
        return Shaper(config, found.origin, proxies, routes)

    def open_source(found: Journal) -> Source:
        source = Source(found, sinks, shaper(found), sampler, pace)
        for sink in sinks:
            if sink.spool is not None:
                source.adopt_spool(sink, sink.spool)
        return source

    ledger = _ledger(config, made)
    home = open_source(journal)
    deaths = Deaths(reasons, siblings.death_of if siblings is not None else nobody)
    claims = Claims(journals, open_source, ledger.fold, deaths, any_destination=any_destination)
    joiner = home.joiner
    flying = InFlight(journal, joiner, open_slots)
    words = LastWords(journal, flying, stuck_after, lambda: journals.make_words(journal))
    chores: Sequence[Callable[[float], None]] = (
        words,
        Heads(flying, pace),
        Watchdog(flying, stuck_after, whereabouts=whereabouts),
        Carrier(journal, joiner, lambda: home.position),
        Announcer(home, shaper(journal), sampler, pace),
        vitals := Vitals(journal, joiner, lambda: home.counts, config.azure.metrics_interval),
        Home(journal, journals),
        WallClock(journal),
        Complaints([*sinks, *(sink.spool for sink in sinks if sink.spool is not None)]),
        losses := Losses(journal, lambda: reader.dropped),
    )
    reader = Reader(
        home,
        sinks,
        claims,
        journals,
        ledger.fold,
        chores=chores,
        farewell=vitals.finish,
        first=[vitals.begin, words.begin],
        siblings=siblings,
        last_words=losses.finish,
        last=[ledger.close, words.close],
    )
    return reader, sinks


def make_exporters(config: Config, service: str, central: Central | None = None) -> list[Exporter]:
    """The exporters that the settings name."""
    exporters = []
    for name in config.exporters:
        setup = Setup(config, table(config, name), service, config.state_dir, central)
        exporter = create(name, setup)
        if isinstance(exporter, Unavailable):
            log.warning("%s", exporter.why)
        exporters.append(exporter)
    return exporters


def _sink(exporter: Exporter, config: Config, journal: Journal) -> Sink:
    wanted = traits(exporter)
    if not wanted.blocking:
        return Inline(exporter)
    label = "".join(letter if letter.isalnum() else "_" for letter in exporter.name)
    folder = os.path.join(config.state_dir, "spool", f"{label}-{journal.origin.destinations or 'any'}")
    spool = Spool(folder, journal.origin.id, size=wanted.spool_size, age=wanted.spool_age)
    return Sender(exporter, spool)


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


def _ledger(config: Config, exporters: Sequence[Exporter]) -> Opener:
    """The store that keeps the totals: also where nothing else is stored locally."""
    local = next((exporter for exporter in exporters if isinstance(exporter, LocalExporter)), None)
    return local.opener if local is not None else Opener(config)


# ---------------------------------------------------------------- recovery


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
    journal = journals.create(journals.origin("recover"), RECOVER_JOURNAL)
    reader, sinks = _assemble(config, journal, journals, tuple, reasons, (), exporters, any_destination=True)
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
    while clock() - since < RECOVER_WAIT:
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
