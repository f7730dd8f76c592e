"""What an application's own settings for the X-Ray SDK and OpenCensus say to ours, where ours say nothing.

`XRAY_RECORDER` of Django's settings, what code told `xray_recorder.configure`, and the `OPENCENSUS`
dictionaries of Django, Flask and Pyramid are read where the application is loaded, each for the backend it is
about. They come below every setting and variable of ours and above the defaults. Nothing is imported for it
and nothing in them is executed; each entry and what became of it is listed by `server-tracing config --app`.
"""

from __future__ import annotations

from typing import Any

from server_tracing.application.adopted import Adopted
from server_tracing.application.finding import opencensus_trace, xray_recorder_settings
from server_tracing.config import Config, Given, Loaded, beneath
from server_tracing.config.sources import Layer

__all__ = ["Adopted", "adopted", "complete"]


def adopted(config: Config, app: object) -> list[Adopted]:
    """Every entry of the application's settings that concerns a backend in use."""
    found: list[Adopted] = []
    if "xray" in config.exporters or config.xray.patch:
        from server_tracing.application import xray

        found += xray.read(*xray_recorder_settings(), recorder=xray.recorder())
    if "azure" in config.exporters or config.azure.integrations:
        from server_tracing.application import opencensus

        for trace, where in opencensus_trace(app):
            found += opencensus.read(trace, where)
    return found


def complete(loaded: Loaded, app: object) -> tuple[Loaded, list[Adopted]]:
    """The settings with what the application adds, and where each of its entries went."""
    found = adopted(loaded.config, app)
    layer: Layer = {}
    for entry in found:
        for key, value in entry.gives.items():
            layer.setdefault(key, Given(value, entry.source))
    return beneath(loaded, layer), found


def option(found: list[Adopted], name: str, default: Any = None) -> Any:
    """Something that is for the library itself: the value of an entry."""
    return next((entry.value for entry in found if entry.name == name), default)
