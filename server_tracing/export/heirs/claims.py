"""Dead workers' journals: found, read to their end, delivered, and folded into the totals, each exactly once.

Any living worker may do it, and the next start, and `server-tracing recover`. What was begun and never
ended is reported as killed. Should this worker die over it, the journal's own checkpoint says how far it was.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from server_tracing.export.source import Source
from server_tracing.journal import Journal
from server_tracing.journal.journals import Journals
from server_tracing.journal.ledger import Checkpoint
from server_tracing.store import StoreError

from .deaths import UNKNOWN, Deaths

EVERY = 1.5  # seconds between looks, so that a killed worker's requests are seen within five
FIRST = 0.5  # seconds after a start: it may be the successor of all there were, and took a while itself
AT_ONCE = 8  # journals in hand
SLICES = 16  # of one journal in one go; our own worker's journal must not wait long
log = logging.getLogger("server_tracing.export")


class Claims:
    """The journals this process has adopted and is working off. Belongs to the reader's thread."""

    def __init__(
        self,
        journals: Journals,
        open_source: Callable[[Journal], Source],
        fold: Callable[[str, Checkpoint], object],
        deaths: Deaths | None = None,
        *,
        any_destination: bool = False,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._journals = journals
        self._open_source = open_source
        self._fold = fold
        self._deaths = deaths or Deaths()
        self._any_destination = any_destination
        self._draw = draw
        self._next = 0.0
        self._swept = False
        self._reported: set[str] = set()
        self._refused: set[str] = set()  # journals that could not be read, said once
        self._read: dict[str, float] = {}  # when a journal had been read to its end
        self.adopted: list[Source] = []
        self.finished = 0  # journals folded and gone
        self.delivered: dict[str, int] = {}  # requests in them, since they were adopted, by exporter
        self.dropped: dict[str, Counter[str]] = {}  # of them, by exporter and reason
        self.killed = 0  # requests that were in flight in them
        self.found_nothing = False  # at the last look

    @property
    def sources(self) -> Sequence[Source]:
        """What is being worked off."""
        return self.adopted

    def hasten(self) -> None:
        """Look now: somebody has died."""
        self._next = min(self._next, 0.0)

    def look(self, now: float) -> None:
        """Adopt what is there to adopt, when it is time; workers do so at random phase."""
        if not self._swept:
            self._swept = True
            self._next = now + FIRST * self._draw()
            self._journals.sweep()
        if now < self._next:
            return
        self._next = now + EVERY * (0.7 + 0.3 * self._draw())
        self._adopt()

    def _adopt(self) -> None:
        room = AT_ONCE - len(self.adopted)
        found = islice(self._journals.orphans(any_destination=self._any_destination), max(0, room))
        self.found_nothing = True
        for journal in found:
            self.found_nothing = False
            try:
                self.adopted.append(self._open_source(journal))
            except Exception:
                if journal.origin.id not in self._refused:
                    log.exception("the journal %s of a dead worker cannot be read now", journal.origin.id)
                self._refused.add(journal.origin.id)
                self._journals.release(journal)

    def work(self, now: float) -> None:
        """Read on in every adopted journal."""
        for source in list(self.adopted):
            if source.id not in self._reported:
                self._guarded(source, partial(self._read_on, source, now))

    def _read_on(self, source: Source, now: float) -> None:
        for _ in range(SLICES):
            if not source.read(now):
                self._report(source, now)
                break

    def settle(self) -> None:
        """Let every adopted journal know how far it is."""
        for source in list(self.adopted):
            self._guarded(source, source.settle)

    def _guarded(self, source: Source, step: Callable[[], None]) -> None:
        """Whatever a journal holds, it keeps no other waiting: one that cannot be worked off is set aside."""
        try:
            step()
        except Exception:
            log.exception("the journal %s of a dead worker cannot be worked off: it is set aside", source.id)
            self.adopted.remove(source)
            self._reported.discard(source.id)
            self._journals.set_aside(source.journal)

    def _report(self, source: Source, now: float) -> None:
        words = self._journals.words(source.journal)
        waited = now - self._read.setdefault(source.id, now)
        death = self._deaths.of(source.journal, words, waited)
        if death is None and source.joiner.in_flight:
            return  # whoever knows will say so in a moment
        self._read.pop(source.id)
        self.killed += source.joiner.in_flight
        source.report_killed(death or UNKNOWN, now)
        self._reported.add(source.id)

    def finish(self) -> None:
        """Fold and remove the journals that every exporter is done with; they are settled already."""
        for source in [source for source in self.adopted if source.id in self._reported and source.idle]:
            self._guarded(source, partial(self._finish, source))

    def _finish(self, source: Source) -> None:
        try:
            close_journal(source, self._fold, self._journals)
        except StoreError as error:
            log.debug("the counts of %s cannot be folded yet: %s", source.id, error)
            return
        self.adopted.remove(source)
        self._reported.discard(source.id)
        self.finished += 1
        for name, count in source.newly_delivered().items():
            self.delivered[name] = self.delivered.get(name, 0) + count
        for name, dropped in source.newly_dropped().items():
            self.dropped[name] = self.dropped.get(name, Counter()) + dropped

    def release(self) -> None:
        """Leave what is not finished to the next one."""
        for source in self.adopted:
            self._journals.release(source.journal)
        self.adopted.clear()

    def __repr__(self) -> str:
        return (
            f"<Claims {len(self.adopted)} in hand · {self.finished} finished · {self.killed} killed requests>"
        )


def close_journal(source: Source, fold: Callable[[str, Checkpoint], object], journals: Journals) -> None:
    """Everything in it is settled: its counts, if there are any, go to the totals, and its file away."""
    checkpoint = source.close_accounts()
    source.journal.settle(checkpoint)
    if checkpoint.seen or any(tally.accounted or tally.spooled for tally in checkpoint.exporters.values()):
        fold(source.id, checkpoint)
    journals.remove(source.journal)
