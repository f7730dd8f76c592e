"""Connection strings of Application Insights: `InstrumentationKey=...;IngestionEndpoint=https://...`.

Their grammar: https://learn.microsoft.com/azure/azure-monitor/app/connection-strings. Pairs with `;` between
(and after, as in the vendor's own samples), keys in any case, values that may hold `=`. Complaints never
repeat a value: the string is treated as a secret.
"""

from __future__ import annotations

import re

from msgspec import Struct

DEFAULT_ENDPOINT = "https://dc.services.visualstudio.com"
DEFAULT_AUDIENCE = "https://monitor.azure.com"
LONGEST = 4096

_KEY = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_SUFFIX = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.IGNORECASE)
_LOCATION = re.compile(r"[a-z0-9-]+", re.IGNORECASE)
_ENDPOINT = re.compile(
    r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?(?:/[!-~]*)?", re.IGNORECASE
)


class Connection(Struct, frozen=True):
    """Where telemetry goes and whose it is."""

    key: str  # the instrumentation key
    endpoint: str = DEFAULT_ENDPOINT  # without a slash at its end
    audience: str = DEFAULT_AUDIENCE  # for whom a Microsoft Entra token must be made out

    def __repr__(self) -> str:
        return f"<Connection to {self.endpoint}>"  # the key is left out on purpose


def parse(text: str) -> Connection:
    """What a connection string says; `ValueError` with the reason if it cannot be used."""
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    pairs = _pairs(text)
    if pairs.get("authorization", "ikey").lower() != "ikey":
        raise ValueError("its Authorization is not ikey, the only one there is")
    if not pairs.get("instrumentationkey"):
        raise ValueError("it has no InstrumentationKey")
    return Connection(
        instrumentation_key(pairs["instrumentationkey"]),
        _endpoint(pairs),
        (pairs.get("aadaudience") or DEFAULT_AUDIENCE).rstrip("/"),
    )


def instrumentation_key(text: str) -> str:
    """A key as it is written in telemetry; `ValueError` if it is none."""
    if not _KEY.fullmatch(text):
        raise ValueError("the instrumentation key is not a GUID")
    return text.lower()


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise ValueError("it has a part that is not Key=Value")
        pairs[name.strip().lower()] = value.strip()
    return pairs


def _endpoint(pairs: dict[str, str]) -> str:
    explicit, suffix, location = map(pairs.get, ("ingestionendpoint", "endpointsuffix", "location"))
    if explicit:
        if not _ENDPOINT.fullmatch(explicit) or not _can_be_asked(explicit):
            raise ValueError("its IngestionEndpoint is not an http or https address")
        scheme, _, rest = explicit.partition(":")
        return f"{scheme.lower()}:{rest}".rstrip("/")
    if not suffix:
        return DEFAULT_ENDPOINT  # a Location without a suffix says nothing
    if not _SUFFIX.fullmatch(suffix.strip(".")):
        raise ValueError("its EndpointSuffix is not a domain")
    if location and not _LOCATION.fullmatch(location.strip(".")):
        raise ValueError("its Location is not a region")
    region = f"{location.strip('.')}." if location else ""
    return f"https://{region}dc.{suffix.strip('.')}"


def _can_be_asked(address: str) -> bool:
    """Has it a host and a port that there may be?"""
    from ipaddress import IPv6Address
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        if ":" in (parts.hostname or ""):
            IPv6Address(parts.hostname or "")  # what Python 3.10 does not look at
        return bool(parts.hostname and parts.hostname.strip(".")) and parts.port != 0
    except ValueError:
        return False
