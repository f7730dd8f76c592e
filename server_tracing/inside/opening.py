"""Whether this room is opened: asked when a worker has loaded its application, and at the first use.

The application will want it if it has asked already (`from server_tracing import current`), or if it holds
`server_tracing` in one of its modules (`import server_tracing`): looking through 1,500 modules with 80,000
names takes 6 ms. An OpenTelemetry provider of its own wants it too (otel.py), also one that is set later; so
do the libraries of the backends in use (BRIDGES), also when they are imported later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server_tracing.inside.host import Host

PACKAGE = __name__.partition(".")[0]
API, SDK, SETTER = "opentelemetry.trace", "opentelemetry.sdk.trace", "_set_tracer_provider"
# Libraries whose spans join the request where their backend is in use, by the modules whose import tells.
BRIDGES = {
    "xray": ("aws_xray_sdk.core",),
    "opencensus": ("opencensus.trace.execution_context", "opencensus.trace.tracer"),
}


def consider(make_host: Callable[[], Host], bridges: Iterable[str] = ()) -> None:
    """Open the room for the requests of this worker, if there is a reason to."""
    awaited = [module for bridge in bridges for module in BRIDGES[bridge]]
    if wanted() or provider() is not None or not sys.modules.keys().isdisjoint(awaited):
        open_room(make_host)
        return
    if API in sys.modules:
        when_provider_is_set(lambda: open_room(make_host))
    if awaited:
        await_arrival(awaited, lambda: open_room(make_host))


def open_room(make_host: Callable[[], Host]) -> None:
    """Follow requests from now on."""
    from server_tracing.inside import executors, greenlets, here

    host = make_host()
    here.attach(host)
    greenlets.follow()
    executors.follow()
    for bridge in host.bridges:
        cross(bridge, host)
    if provider() is not None:
        from server_tracing.inside import otel

        otel.follow(provider())
    elif API in sys.modules:
        when_provider_is_set(lambda: open_room(make_host))


def cross(bridge: str, host: Host) -> None:
    """Have a library's spans join: now as far as it is there, and the rest when it comes."""
    loaded = [module for module in BRIDGES[bridge] if module in sys.modules]
    if loaded:
        import_module(f"{__package__}.{bridge}").follow(host)
    if len(loaded) < len(BRIDGES[bridge]):
        await_arrival(set(BRIDGES[bridge]).difference(loaded), lambda: cross(bridge, host))


def await_arrival(modules: Iterable[str], then: Callable[[], object]) -> None:
    """Call this when one of these is imported."""
    from server_tracing.inside.arrivals import when_imported

    for module in modules:
        when_imported(module, then)


def wanted() -> bool:
    """Whether the application will ask for its requests."""
    return f"{PACKAGE}.inside.api" in sys.modules or any(map(_holds_package, list(sys.modules.items())))


def _holds_package(item: tuple[str, ModuleType]) -> bool:
    name, module = item
    if name == PACKAGE or name.startswith(f"{PACKAGE}."):
        return False
    package = sys.modules[PACKAGE]
    return any(value is package for value in list(getattr(module, "__dict__", {}).values()))


def provider() -> Any:
    """The tracer provider of OpenTelemetry's SDK that the application has set, if it has."""
    if SDK not in sys.modules:
        return None
    found = getattr(sys.modules.get(API), "_TRACER_PROVIDER", None)
    return found if isinstance(found, sys.modules[SDK].TracerProvider) else None


def when_provider_is_set(then: Callable[[], object]) -> None:
    """Call this once the application sets one; asking for it would have OpenTelemetry make one."""
    api = sys.modules[API]
    set_provider = getattr(api, SETTER, None)
    if set_provider is None or hasattr(set_provider, "server_tracing"):
        return

    def watched(*arguments: Any, **named: Any) -> None:
        set_provider(*arguments, **named)
        if provider() is not None:
            then()

    watched.server_tracing = True  # type: ignore[attr-defined]
    setattr(api, SETTER, watched)
