"""Which exporters there are, as import strings: none is imported before it is asked for, users' own go in by
the same door ("module:Class", called with a Setup)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from server_tracing.record import Record

from .exporter import Exporter, ExportError, Setup

EXPORTERS = {
    "local": "server_tracing.export.local:LocalExporter",
    "console": "server_tracing.export.console:ConsoleExporter",
    "jsonl": "server_tracing.export.jsonl:JsonLinesExporter",
    "xray": "server_tracing.export.xray.exporter:XRayExporter",
    "memory": "server_tracing.export.memory:MemoryExporter",
    "azure": "server_tracing.export.azure:AzureExporter",
}


class Unavailable:
    """Stands in for an exporter that could not be made: what it would have got is counted, not forgotten."""

    blocking = False

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self.why = why

    def export(self, records: Sequence[Record]) -> None:
        """Say why not."""
        raise ExportError(self.why, permanent=True, reason="unavailable")

    def __repr__(self) -> str:
        return f"<Unavailable {self.name}: {self.why}>"


def create(name: str, setup: Setup) -> Exporter:
    """The exporter called `name`; one that drops and counts everything if it cannot be had."""
    target = EXPORTERS.get(name, name)
    module, _, attribute = target.partition(":")
    try:
        if not module or not attribute:
            known = ", ".join(EXPORTERS)
            raise ImportError(f"there is no exporter called {name!r}; known: {known}, or module:Class")
        exporter: Exporter = getattr(import_module(module), attribute)(setup)
    except Exception as error:  # noqa: BLE001 - somebody else's code, in our thread
        return Unavailable(name, f"exporter {name!r} is not available: {type(error).__name__}: {error}")
    return exporter
