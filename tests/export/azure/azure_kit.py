"""What the tests of the exporter share: an exporter for a stand-in, and records to give it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from believable import request as believable_request
from ingestion import Ingestion

from server_tracing.config import Azure, Config
from server_tracing.export.azure import AzureExporter
from server_tracing.export.exporter import Setup
from server_tracing.export.pace import Pace
from server_tracing.record import Request


def now() -> datetime:
    """A moment the service accepts."""
    return datetime.now(timezone.utc) - timedelta(seconds=5)


def config(service: Ingestion, **azure: Any) -> Config:
    """Settings for a stand-in."""
    given = {"connection_string": service.connection_string, "proxies": {}, **azure}
    return Config(service="shop", exporters=("azure",), azure=Azure(**given))


def exporter(service: Ingestion, folder: Path | str = "", **azure: Any) -> AzureExporter:
    """An exporter that sends to the stand-in and does not sleep."""
    setup = Setup(config(service, **azure), {}, "shop", str(folder))
    return AzureExporter(setup, pace=Pace(sleep=lambda seconds: None))


@contextmanager
def exporting(service: Ingestion, **azure: Any) -> Iterator[AzureExporter]:
    """The same, which hangs up in the end."""
    one = exporter(service, **azure)
    try:
        yield one
    finally:
        one.close()


def request(number: int = 1, **fields: Any) -> Request:
    """An ordinary request of just now."""
    return believable_request(number, **{"start": now(), **fields})
