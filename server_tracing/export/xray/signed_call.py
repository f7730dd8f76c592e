"""Calls signed and sent by botocore: where there is no daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server_tracing.config import XRay

from .client import client as new_client
from .client import explained
from .control_plane import ControlPlaneError, Reply, http_date

METHODS = {"GetSamplingRules": "get_sampling_rules", "GetSamplingTargets": "get_sampling_targets"}


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
                self._client = new_client(self._settings)
            content = getattr(self._client, METHODS[operation])(**parameters)
        except Exception as error:  # noqa: BLE001 - botocore's, urllib3's, a credential helper's
            raise ControlPlaneError(explained(error, "it").sentence) from None  # after `place`
        metadata = content.get("ResponseMetadata", {})
        return Reply(content, http_date(metadata.get("HTTPHeaders", {}).get("date", "")))

    def __repr__(self) -> str:
        return f"<SignedCaller to {self.place}>"
