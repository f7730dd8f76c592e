"""Puts the exporter's side of a worker together."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from server_tracing.config import Config, Loaded, table
from server_tracing.forwarding import addresses
from server_tracing.journal import Journal
from server_tracing.journal.journals import Journals
from server_tracing.sampling import Sampler, sampler_for
from server_tracing.sampling.central import Central

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
from .stuck.watchdog import Watchdog
from .stuck.whereabouts import Whereabouts
from .wallclock import WallClock

log = logging.getLogger("server_tracing.export")


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


class Process(NamedTuple):
    """What the exporter's side is told of the process it runs in; that of `recover` serves nobody."""

    open_slots: Callable[[], Iterable[Slot]] = tuple
    reasons: Ask | None = None  # asks gunicorn's master why a worker died
    trusted_proxies: str | Iterable[str] = ()
    stuck_after: float = 0.0  # seconds; 0: nothing ever is
    sampler: Sampler | None = None  # which also decides inside requests, where somebody asks there
    applications: Applications = tuple  # those that are served
    whereabouts: Whereabouts | None = None  # finds where requests are when they take too long
    siblings: Siblings | None = None


def start(
    loaded: Loaded,
    journal: Journal,
    journals: Journals,
    process: Process,
    *,
    exporters: Sequence[Exporter] | None = None,
) -> Pipeline:
    """Begin to export what this worker's journal gets, and what dead workers left."""
    process = process._replace(siblings=Siblings(journals))
    reader, sinks = assemble(loaded.config, journal, journals, process, exporters)
    reader.start()
    return Pipeline(reader, sinks)


def assemble(
    config: Config,
    journal: Journal,
    journals: Journals,
    process: Process,
    exporters: Sequence[Exporter] | None = None,
    *,
    any_destination: bool = False,
) -> tuple[Reader, Sequence[Sink]]:
    """The reader and what it hands records to, not yet begun."""
    sampler = process.sampler or sampler_for(config)
    made = exporters
    if made is None:
        made = make_exporters(config, journal.origin.service, sampler.central)
    sinks = [_sink(exporter, config, journal) for exporter in made]
    sources = Sources(config, sinks, sampler, process)
    home, ledger, siblings = sources.open(journal), _ledger(config, made), process.siblings
    deaths = Deaths(process.reasons, siblings.death_of if siblings is not None else nobody)
    claims = Claims(journals, sources.open, ledger.fold, deaths, any_destination=any_destination)
    flying = InFlight(journal, home.joiner, process.open_slots)
    words = LastWords(journal, flying, process.stuck_after, lambda: journals.make_words(journal))
    vitals = Vitals(journal, home.joiner, lambda: home.counts, config.azure.metrics_interval)
    losses = Losses(journal, lambda: reader.dropped)
    chores: Sequence[Callable[[float], None]] = (
        words,
        Heads(flying, sources.pace),
        Watchdog(flying, process.stuck_after, whereabouts=process.whereabouts),
        Carrier(journal, home.joiner, lambda: home.position),
        Announcer(home, sources.shaper(journal), sampler, sources.pace),
        vitals,
        Home(journal, journals),
        WallClock(journal),
        Complaints([*sinks, *(sink.spool for sink in sinks if sink.spool is not None)]),
        losses,
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


class Sources:
    """Opens journals to read from, all on their way to the same sinks."""

    def __init__(self, config: Config, sinks: Sequence[Sink], sampler: Sampler, process: Process) -> None:
        self.pace = Pace()
        self._config = config
        self._sinks = sinks
        self._sampler = sampler
        self._proxies = addresses(process.trusted_proxies)
        self._routes = Routes(process.applications, config.capture.derive_routes)

    def shaper(self, journal: Journal) -> Shaper:
        """Makes records of what this journal's worker wrote."""
        return Shaper(self._config, journal.origin, self._proxies, self._routes)

    def open(self, journal: Journal) -> Source:
        """This journal, and what its worker left half-done in the spools."""
        source = Source(journal, self._sinks, self.shaper(journal), self._sampler, self.pace)
        for sink in self._sinks:
            if sink.spool is not None:
                source.adopt_spool(sink, sink.spool)
        return source


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


def _ledger(config: Config, exporters: Sequence[Exporter]) -> Opener:
    """The store that keeps the totals: also where nothing else is stored locally."""
    local = next((exporter for exporter in exporters if isinstance(exporter, LocalExporter)), None)
    return local.opener if local is not None else Opener(config)
