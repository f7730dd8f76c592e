"""Where an application keeps its settings. Only what it has imported itself is looked at."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

DJANGO = "Django settings"


def django_setting(name: str) -> Mapping[str, Any] | None:
    """A dictionary of Django's settings, where Django is configured."""
    module = sys.modules.get("django.conf")
    settings = getattr(module, "settings", None)
    if settings is None or not settings.configured:
        return None
    found = getattr(settings, name, None)
    return found if isinstance(found, Mapping) else None


def xray_recorder_settings() -> tuple[Mapping[str, Any] | None, str]:
    """`XRAY_RECORDER`, and where it is from."""
    return django_setting("XRAY_RECORDER"), DJANGO


def opencensus_trace(app: object) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Every `OPENCENSUS["TRACE"]`, and where it is from."""
    for dictionary, where in _opencensus(app):
        trace = dictionary.get("TRACE") if isinstance(dictionary, Mapping) else None
        if isinstance(trace, Mapping):
            yield trace, where


def _opencensus(app: object) -> Iterator[tuple[Any, str]]:
    found = django_setting("OPENCENSUS")
    if found is not None:
        yield found, DJANGO
    from server_tracing.frameworks.unwrap import applications_in

    for framework, application in applications_in(app):
        if framework.name == "flask":
            yield application.config.get("OPENCENSUS"), "Flask config"
        elif framework.name == "pyramid":
            yield (application.registry.settings or {}).get("OPENCENSUS"), "Pyramid settings"
