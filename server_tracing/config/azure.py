"""The settings of Azure Application Insights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from server_tracing.config import accepted
from server_tracing.config.setting import SWITCH, Setting
from server_tracing.units import duration, duration_text, size, size_text, switch, words

OFF = ("off", "none")
WINDOW = 48 * 3600.0  # seconds after which the service rejects an item for its age


class Azure(Struct, frozen=True, kw_only=True):
    """Where telemetry goes, what it says, and how it travels."""

    connection_string: str = ""
    instrumentation_key: str = ""  # given with more authority than the connection string, or alone
    version: str = ""  # of the application
    success_4xx: bool = False  # whether a request answered with 4xx succeeded
    metrics_interval: float = 60.0  # 0: no metrics
    processors: tuple[Any, ...] = ()  # names, or functions
    credential: Any = None  # a name, or an object that has get_token
    proxies: dict[str, str] | None = None  # by the scheme of the endpoint; None: the environment's
    timeout: float = 10.0
    storage_max_size: int = 50 << 20
    storage_retention: float = WINDOW
    integrations: tuple[str, ...] = ()  # of OpenCensus, switched on before the application is imported
    excluded_hosts: tuple[str, ...] = ()  # calls to these the integrations do not tell of


def contradiction(azure: Azure) -> str:
    """What is wrong with the settings of an exporter that is used, taken together; "" if nothing is."""
    if not azure.connection_string and not azure.instrumentation_key:
        return (
            "azure.connection_string is not set, but exporters names azure; set it, or the variable "
            "APPLICATIONINSIGHTS_CONNECTION_STRING, to what the portal shows."
        )
    from server_tracing.config.connection_string import DEFAULT_ENDPOINT, parse

    endpoint = parse(azure.connection_string).endpoint if azure.connection_string else DEFAULT_ENDPOINT
    if azure.credential is not None and not endpoint.startswith("https://"):
        return "azure.credential is set, but a token must not travel to an endpoint that is not https."
    return ""


def connection_string(value: object) -> str:
    """A connection string that can be used."""
    from server_tracing.config.connection_string import parse

    text = accepted.text(value)
    parse(text)
    return text


def instrumentation_key(value: object) -> str:
    """A GUID, as it is written in telemetry."""
    from server_tracing.config.connection_string import instrumentation_key

    return instrumentation_key(accepted.text(value))


def interval(value: object) -> float:
    """Seconds between two metrics, 0 for none."""
    seconds = accepted.duration_or_off(0.0)(value) or 0.0
    if seconds and not 1.0 <= seconds <= 3600.0:
        raise ValueError
    return seconds


def processors(value: object) -> tuple[str | Callable[[Any], object], ...]:
    """`module:function`, or, in code, functions."""
    if isinstance(value, (list, tuple)) and any(map(callable, value)):
        return tuple(one if callable(one) else accepted.dotted(one) for one in value)
    return tuple(map(accepted.dotted, words(value)))


def credential(value: object) -> object:
    """A class of azure.identity, `module:name`, or, in code, an object that has `get_token`."""
    if not isinstance(value, str):
        if not callable(getattr(value, "get_token", None)):
            raise ValueError("it has no get_token")
        return value
    name = accepted.text(value)
    if name.lower() in OFF:
        return None
    return name if name.isidentifier() else accepted.dotted(name)


def proxies(value: object) -> dict[str, str] | None:
    """One address, or addresses by scheme as `requests` and OpenCensus take them; `off` for none."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        from msgspec import DecodeError, json

        try:
            value = json.decode(value)
        except DecodeError:
            raise ValueError("it is not valid JSON") from None
    if isinstance(value, str):
        return {} if value.strip().lower() in OFF else dict.fromkeys(("http", "https"), _proxy(value))
    if not isinstance(value, dict) or not set(value) <= {"http", "https"}:
        raise ValueError
    return {scheme: _proxy(address) for scheme, address in value.items()}


def _proxy(value: object) -> str:
    from urllib.parse import urlsplit

    text = accepted.text(value)
    try:
        address = urlsplit(text if "://" in text else f"http://{text}")
        if address.scheme == "http" and address.hostname and address.port != 0:
            return address.geturl()
    except ValueError:  # it quotes what may be a part of a password
        pass
    raise ValueError("it is not the address of an http proxy")


def _proxies_text(value: dict[str, str]) -> str:
    from urllib.parse import urlsplit

    shown = {f"http://{urlsplit(address).netloc.rpartition('@')[2]}" for address in value.values()}
    return ", ".join(sorted(shown)) or "off"


SETTINGS = (
    Setting(
        "azure.connection_string",
        connection_string,
        "InstrumentationKey=<guid>;IngestionEndpoint=https://..., as the portal shows it",
        absent="none",
        show=accepted.masked,
        where=True,
    ),
    Setting(
        "azure.instrumentation_key",
        instrumentation_key,
        "a GUID",
        absent="that of the connection string",
        show=accepted.masked,
        where=True,
    ),
    Setting("azure.version", accepted.text, "text", "none"),
    Setting("azure.success_4xx", switch, SWITCH),
    Setting(
        "azure.metrics_interval",
        interval,
        "a duration from 1s to 1h, or off",
        show=accepted.duration_or_off_text,
    ),
    Setting(
        "azure.processors",
        processors,
        "a list of telemetry processors, each as module:function",
    ),
    Setting(
        "azure.credential",
        credential,
        "DefaultAzureCredential or another class of azure.identity, or your own as module:name",
        absent="none",
        show=accepted.name_of,
    ),
    Setting(
        "azure.proxies",
        proxies,
        'the address of an http proxy, {"https": "http://host:port"}, or off',
        absent="those of the environment",
        show=_proxies_text,
    ),
    Setting(
        "azure.timeout",
        accepted.within(duration, 0.1, 300.0),
        "a duration from 100ms to 5m",
        show=duration_text,
    ),
    Setting(
        "azure.storage_max_size",
        accepted.within(size, 0, 1 << 40),
        "a size up to 1TiB; 0 keeps nothing on disk",
        show=size_text,
    ),
    Setting(
        "azure.storage_retention",
        accepted.within(duration, 1.0, WINDOW),
        "a duration up to 2d, after which the service rejects records for their age",
        show=duration_text,
    ),
    Setting(
        "azure.integrations",
        accepted.module_names,
        'a list of OpenCensus\' integrations such as ["requests", "postgresql"]',
    ),
    Setting("azure.excluded_hosts", words, 'a list such as ["localhost:9200"]'),
)
