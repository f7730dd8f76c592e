"""Calls signed and sent by botocore: where there is no daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server_tracing.config import XRay
from server_tracing.units import printable

from .control_plane import ControlPlaneError, Reply, http_date

PATIENCE = 5.0  # seconds to connect, and as many for the reply
METHODS = {"GetSamplingRules": "get_sampling_rules", "GetSamplingTargets": "get_sampling_targets"}
LONGEST_REASON = 200


class SignedCaller:
    """Calls of the API, with the credentials and the region that botocore finds; loaded at the first one."""

    def __init__(self, settings: XRay, client: Any = None) -> None:
        self.place = f"the X-Ray API of {settings.endpoint or settings.region or 'the region in use'}"
        self._settings = settings
        self._client = client

    def call(self, operation: str, parameters: Mapping[str, Any]) -> Reply:
        """One call, answered, or a `ControlPlaneError`."""
        try:
            if self._client is None:
                self._client = _client(self._settings)
            content = getattr(self._client, METHODS[operation])(**parameters)
        except Exception as error:  # noqa: BLE001 - botocore's, urllib3's, a credential helper's
            reason = f"{type(error).__name__}: {error}"
            raise ControlPlaneError(printable(" ".join(reason.split()))[:LONGEST_REASON]) from None
        metadata = content.get("ResponseMetadata", {})
        return Reply(content, http_date(metadata.get("HTTPHeaders", {}).get("date", "")))

    def __repr__(self) -> str:
        return f"<SignedCaller to {self.place}>"


def _client(settings: XRay) -> Any:
    import botocore.session
    from botocore.config import Config

    return botocore.session.get_session().create_client(
        "xray",
        region_name=settings.region or None,
        endpoint_url=settings.endpoint or None,
        config=Config(connect_timeout=PATIENCE, read_timeout=PATIENCE, retries={"total_max_attempts": 1}),
    )
