"""What the X-Ray SDK does outside of our requests, by our settings: where segments begun by hand go."""

from __future__ import annotations

import json
import logging
from typing import Any

from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.emitters.udp_emitter import UDPEmitter

from server_tracing import by_hand
from server_tracing.config import Config, XRay
from server_tracing.inside.arrivals import when_imported

log = logging.getLogger("server_tracing")


def mend_tasks() -> None:
    """Where the application has the SDK follow its tasks: now, or when it asks for that."""
    when_imported("aws_xray_sdk.core.async_context", _mend)


def _mend() -> None:
    from server_tracing.inside.xray_tasks import mend

    mend()


def aim(config: Config) -> None:
    """Have segments that are begun by hand outside of requests go where ours go."""
    settings, defaults = config.xray, XRay()
    if (
        "xray" in config.exporters
        and settings.transport == "api"
        and type(xray_recorder.emitter) is UDPEmitter
    ):
        xray_recorder.emitter = Emitter()
    elif settings.daemon_address != defaults.daemon_address:
        try:
            xray_recorder.emitter.set_daemon_address(settings.daemon_address)
        except Exception:  # noqa: BLE001 - an emitter of the application's, an address of IPv6
            log.warning("segments begun by hand do not go to %s: the SDK cannot.", settings.daemon_address)
    if settings.context_missing != defaults.context_missing:
        vars(xray_recorder)["_context"].context_missing = settings.context_missing


class Emitter:
    """Leaves segments to the exporter of this process."""

    def send_entity(self, entity: Any) -> None:
        try:
            by_hand.add(entity.id, strict(entity.serialize()))
        except Exception:
            log.exception("a segment cannot be written down")

    def set_daemon_address(self, address: object) -> None:
        """No daemon is asked."""


def strict(document: str) -> str:
    """The SDK writes numbers that JSON does not have, for one of which the service refuses all: as texts."""
    if "NaN" not in document and "Infinity" not in document:
        return document
    return json.dumps(json.loads(document, parse_constant=str))
