"""Delivers records to Application Insights.

A record becomes one item or several, and of these a part may be accepted: what is left of it then travels
with the record (`unsent`), through the spool too, so that nothing the service has accepted is sent again. A
request counts as delivered when the item of the request itself was accepted.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

from server_tracing.config.connection_string import DEFAULT_AUDIENCE, DEFAULT_ENDPOINT, Connection, parse
from server_tracing.export.exporter import ExportError, Setup
from server_tracing.export.pace import Pace
from server_tracing.record import Record, Request

from .answers import Ruling
from .clock import Skew
from .courier import Courier
from .credentials import Tokens
from .envelopes import Envelopes
from .parts import Parts
from .payload import encode, readable
from .processors import ProcessorError, Processors
from .refusals import Refusals
from .route import Route
from .wire import Wire

AT_ONCE = 16  # records, or items of one, between two looks at the clock
PROCESSED = 4  # a processor takes as long as so many records: 20 us, for what it is given has to be made
log = logging.getLogger("server_tracing.export")


class AzureExporter:
    """Exports to one Application Insights resource. Nothing is asked of anybody before the first batch."""

    name = "azure"
    max_batch = 500
    max_age = 1.0

    def __init__(
        self, setup: Setup, *, clock: Callable[[], float] = time.time, pace: Pace | None = None
    ) -> None:
        settings = setup.config.azure
        self.spool_size = settings.storage_max_size
        self.spool_age = settings.storage_retention
        connection = _connection(settings.connection_string, settings.instrumentation_key)
        self._envelopes = Envelopes(setup.config, connection.key)
        self._courier = Courier(
            Wire(settings.timeout, settings.proxies),
            Route(connection.endpoint),
            None if settings.credential is None else Tokens(settings.credential, connection.audience, clock),
            Skew(clock),
        )
        self._given = settings.processors
        self._processors: Processors | None = None
        self._refusals = Refusals()
        self._pace = pace or Pace()
        self._faults = 0

    def export(self, records: Sequence[Record]) -> None:
        """Deliver all of `records`, or raise ExportError."""
        self._find_processors()
        self._envelopes.shift = timedelta(seconds=self._courier.skew.shift)
        parts = self._parts(records)
        ruled = self._courier.deliver(parts.items) if parts.items else Ruling()
        parts.refuse({item: refusal.reason for item, refusal in ruled.refused.items()})
        said = Counter(refusal.said for refusal in ruled.refused.values())
        self._refusals.tell(said)
        remaining, lost = parts.remaining(ruled.later), parts.lost
        if remaining or lost:
            raise ExportError(
                ruled.trouble or f"refused: {next(iter(said), '') or _unsent(lost)}",
                remaining=remaining,
                refused=lost,
                retry_after=ruled.retry_after,
                remedy=ruled.remedy,
            )

    def probe(self, record: Record) -> str:
        """Deliver `record` and say what came back, or raise ExportError."""
        self.export([record])
        return self._courier.answer

    def close(self) -> None:
        """Hang up."""
        self._courier.close()

    def _find_processors(self) -> None:
        """Nothing may be sent that a processor was to look at and could not."""
        if self._given and self._processors is None:
            try:
                self._processors = Processors(self._given)
            except ProcessorError as error:
                raise ExportError(str(error), remedy="see azure.processors", reason="processor") from error

    def _parts(self, records: Sequence[Record]) -> Parts:
        parts = Parts(records)
        for number, record in enumerate(records):
            if number % AT_ONCE == 0:
                self._pace.breathe(AT_ONCE // 2)  # one takes half the time the reader takes
            try:
                self._add(parts, record)
            except Exception as error:  # noqa: BLE001 - a bug of ours costs one record, not its batch
                parts.lose("failed")
                self._faults += 1
                if self._faults == 1:
                    log.warning("a record cannot be shaped for Application Insights: %r", error)
        return parts

    def _add(self, parts: Parts, record: Record) -> None:
        try:
            items = self._encoded(record)
        except UnicodeEncodeError:
            items = self._encoded(readable(record))
        unsent = getattr(record, "unsent", None)
        if self._processors is None and not unsent:
            parts.add(items)
            return
        wanted = [place for place in range(len(items)) if not unsent or place in unsent]
        kept = self._processed(wanted, items)
        if type(record) is Request and wanted[:1] == [0] and 0 not in kept:
            parts.lose("processor")  # without its request, nothing leads to the rest
        else:
            parts.add_some(kept)

    def _encoded(self, record: Record) -> list[bytes]:
        items = []
        for envelope in self._envelopes.of(record):
            items.append(encode(envelope))
            if len(items) % AT_ONCE == 0:  # a request may have a thousand spans
                self._pace.breathe(AT_ONCE)
        return items

    def _processed(self, wanted: Sequence[int], items: Sequence[bytes]) -> dict[int, bytes]:
        """Those of the items that processors leave, as they leave them, by their places."""
        kept = {}
        for place in wanted:
            item: bytes | None = items[place]
            if self._processors is not None:
                item = self._processors.apply(items[place])
                self._pace.breathe(PROCESSED)
            if item is not None:
                kept[place] = item
        return kept

    def __repr__(self) -> str:
        return f"<AzureExporter {self._courier!r}>"


def _unsent(lost: Counter[str]) -> str:
    """Why a request was not even sent."""
    return "by a telemetry processor" if "processor" in lost else "a record cannot be shaped"


def _connection(string: str, key: str) -> Connection:
    """A key of its own beside a connection string has more authority (config/sources.py)."""
    if not string:
        return Connection(key, DEFAULT_ENDPOINT, DEFAULT_AUDIENCE)
    connection = parse(string)
    return Connection(key, connection.endpoint, connection.audience) if key else connection
