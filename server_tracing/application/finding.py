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
    """Every `OPENCENSUS["TRACE"]`, and what middleware was told in its place, and where it is from."""
    from server_tracing.frameworks.unwrap import applications_in

    yield from _trace(django_setting("OPENCENSUS"), DJANGO)
    for framework, application in applications_in(app):
        if framework.name == "flask":
            yield from _trace(application.config.get("OPENCENSUS"), "Flask config")
            yield from _told_in_flask(application)
        elif framework.name == "pyramid":
            yield from _trace((application.registry.settings or {}).get("OPENCENSUS"), "Pyramid settings")
        elif framework.name == "starlette":
            yield from _told_in_starlette(application)


def _trace(dictionary: object, where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    trace = dictionary.get("TRACE") if isinstance(dictionary, Mapping) else None
    if isinstance(trace, Mapping):
        yield trace, where


# ------------------------------------------------------------ what middleware was told in code

TOLD = {
    "sampler": "SAMPLER",
    "exporter": "EXPORTER",
    "propagator": "PROPAGATOR",
    "excludelist_paths": "EXCLUDELIST_PATHS",
    "excludelist_hostnames": "EXCLUDELIST_HOSTNAMES",
}
UNTOLD = ("PrintExporter", "TraceContextPropagator")  # what it takes where nobody says anything
UNTOLD_RATE = 1e-4


def _told_in_flask(application: Any) -> Iterator[tuple[Mapping[str, Any], str]]:
    """`FlaskMiddleware(app, exporter=..., sampler=...)`: it hooks methods of its own into the application."""
    for hook in application.before_request_funcs.get(None, ()):
        middleware = getattr(hook, "__self__", None)
        if type(middleware).__name__ == "FlaskMiddleware":
            yield _told(vars(middleware)), "FlaskMiddleware"


def _told_in_starlette(application: Any) -> Iterator[tuple[Mapping[str, Any], str]]:
    """`app.add_middleware(FastAPIMiddleware, exporter=..., sampler=...)`."""
    for middleware in getattr(application, "user_middleware", ()):
        if getattr(middleware.cls, "__name__", "") == "FastAPIMiddleware":
            options = getattr(middleware, "kwargs", None) or getattr(middleware, "options", {})
            yield _told(options), "FastAPIMiddleware"


def _told(options: Mapping[str, Any]) -> dict[str, Any]:
    """As the dictionary would have it, without what nobody said."""
    given = {TOLD[name]: value for name, value in options.items() if name in TOLD and value is not None}
    return {key: value for key, value in given.items() if not _is_untold(value)}


def _is_untold(value: Any) -> bool:
    kind = type(value).__name__
    return kind in UNTOLD or (kind == "ProbabilitySampler" and value.rate == UNTOLD_RATE)
