"""What the settings `xray.patch` and `azure.integrations` switch on, in the application's own process.

A door calls `instrument` before it imports the application, because what an application takes out of a
library (`from httpx import Client`) is what it is then. Each name is tried by itself, once; what cannot be
instrumented is one sentence, and the application runs all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from server_tracing.config import Config

log = logging.getLogger("server_tracing")

_done: set[tuple[str, str]] = set()  # inherited by forks, as what was instrumented is


def instrument(config: Config, ignored: Sequence[str] = ()) -> None:
    """Have these libraries tell of their calls, and modules of the application that are not `ignored`."""
    if not config.enabled:
        return
    if config.xray.patch and config.xray.enabled:
        from server_tracing.inside import xray_patches

        each("xray.patch", config.xray.patch, lambda name: xray_patches.switch_on(name, ignored))
    if config.azure.integrations:
        from server_tracing.inside import opencensus_integrations

        each("azure.integrations", config.azure.integrations, opencensus_integrations.switch_on)


def each(setting: str, names: Iterable[str], switch_on: Callable[[str], object]) -> None:
    """Switch on what is not on yet."""
    for name in names:
        if (setting, name) not in _done:
            _done.add((setting, name))
            try:
                switch_on(name)
            except Exception as error:  # noqa: BLE001 - whatever a library raises while it is patched
                log.warning("%s names %s, which cannot be instrumented: %s.", setting, name, reason(error))


def reason(error: Exception) -> str:
    """An exception in a sentence."""
    text = str(error).strip().rstrip(".") or type(error).__name__
    return text.partition("\n")[0]
