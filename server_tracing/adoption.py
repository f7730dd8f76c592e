"""In a process whose application is loaded: its own settings are read, and what they ask for is done.

What they say to ours is for server_tracing/application; here is what the X-Ray SDK and OpenCensus would have
done with the rest: instrument libraries, database cursors and templates, and leave out queries.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from server_tracing.config import Config, Loaded, check_whole
from server_tracing.instrument import instrument

log = logging.getLogger("server_tracing")

XRAY_APP = "aws_xray_sdk.ext.django"  # in INSTALLED_APPS, the SDK does all of this itself


def adopt(loaded: Loaded, application: object) -> Loaded:
    """The settings, completed; a `ConfigError` where something is missing all the same."""
    config = loaded.config
    if not {"xray", "azure"}.isdisjoint(config.exporters) or config.xray.patch or config.azure.integrations:
        from server_tracing.application import complete

        loaded, found = complete(loaded, application)
        for entry in found:
            if entry.refused:
                log.warning("%s: %s.", entry.source, entry.remark)
        check_whole(loaded)
        do(loaded.config, {entry.name: entry.value for entry in found})
    return loaded


def do(config: Config, told: dict[str, Any]) -> None:
    """What is for the libraries themselves."""
    patterns = told.get("XRAY_RECORDER['IGNORE_MODULE_PATTERNS']") or ()
    instrument(config, ignored=tuple(map(str, patterns)))
    if any(name.startswith("XRAY_RECORDER[") for name in told):
        instrument_django(told)


def instrument_django(told: dict[str, Any]) -> None:
    """As the SDK's Django application does when it is ready."""
    if told.get("XRAY_RECORDER['STREAM_SQL']") is False:
        from server_tracing.inside.xray_patches import leave_out_queries

        leave_out_queries()
    apps = getattr(sys.modules.get("django.apps"), "apps", None)
    if told.get("XRAY_RECORDER['AUTO_INSTRUMENT']", True) and not (apps and apps.is_installed(XRAY_APP)):
        from server_tracing.inside.xray_patches import instrument_django

        instrument_django()
