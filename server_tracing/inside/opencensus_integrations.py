"""OpenCensus' integrations, switched on from outside of the application."""

from __future__ import annotations

from importlib import import_module


def switch_on(name: str) -> None:
    """As `config_integration.trace_integrations` does, but what is wrong is raised."""
    try:
        module = import_module(f"opencensus.ext.{name}.trace")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("opencensus"):
            raise ValueError(f"opencensus-ext-{name.replace('_', '-')} is not installed") from None
        raise
    module.trace_integration()
