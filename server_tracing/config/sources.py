"""Where settings come from: arguments, variables of ours, variables of the ecosystem, and the file.

Each source gives a layer, dotted key -> what was found and where; what the values mean is settings.py's.
A name of ours that is no setting is a `ConfigError`; what we cannot use of other people's is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from server_tracing.units import printable

PREFIX = "SERVER_TRACING_"
# Read by the doors and by config/file.py, not settings:
DOOR_VARIABLES = (
    "SERVER_TRACING_CONFIG",
    "SERVER_TRACING_APP",
    "SERVER_TRACING_APP_FACTORY",
    "SERVER_TRACING_GUNICORN_CONF",
)
# What Kubernetes puts into every container beside a service that is called "server-tracing":
KUBERNETES = ("SERVER_TRACING_SERVICE_HOST", "SERVER_TRACING_SERVICE_PORT", "SERVER_TRACING_PORT")

FROM_XRAY = {
    "AWS_XRAY_TRACING_NAME": "service",
    "AWS_XRAY_DAEMON_ADDRESS": "xray.daemon_address",
    "AWS_XRAY_CONTEXT_MISSING": "xray.context_missing",
    "AWS_XRAY_SDK_ENABLED": "xray.enabled",
}
FROM_ECOSYSTEM = {
    "APPINSIGHTS_INSTRUMENTATIONKEY": "azure.instrumentation_key",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "azure.connection_string",
    "OTEL_SERVICE_NAME": "service",
}
FROM_PLATFORM = {"WEBSITE_SITE_NAME": "service"}  # of an Azure App Service, which puts it into every process


class ConfigError(Exception):
    """A setting that stops the first start; `str()` is the one clear sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


class Given(NamedTuple):
    """A value as found; a relative path in it starts at `base`."""

    value: object
    source: str
    base: str = ""


Layer = dict[str, Given]


def merged(*layers: Layer) -> Layer:
    """One layer of many, the strongest last. A connection string names the instrumentation key, too: one that
    is given alone in the same place or a weaker one says nothing beside it."""
    result: Layer = {}
    for layer in layers:
        result |= layer
        if "azure.connection_string" in layer:
            result.pop("azure.instrumentation_key", None)
    return result


def variable(key: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}DIR" if key == "state_dir" else PREFIX + key.upper().replace(".", "_")


def from_arguments(arguments: Mapping[str, object], keys: Collection[str], base: str) -> Layer:
    """Arguments in code, as `sampling={"rate": 0.1}` or `sampling_rate=0.1`; None is absent."""
    names = _plain(keys)
    layer: Layer = {}
    for name, value in _flat(arguments).items():
        key = names.get(name.replace(".", "_"))
        if key is None:
            raise ConfigError(f"the argument {name} is not a setting{_nearest(name, names)}.")
        if value is not None:
            layer[key] = Given(value, f"argument {name}", base)
    return layer


def from_environment(environ: Mapping[str, str], keys: Collection[str], base: str) -> Layer:
    """The `SERVER_TRACING_*` variables; an empty one is absent."""
    names = {variable(key): key for key in keys}
    layer: Layer = {}
    for name in [name for name in environ if name.startswith(PREFIX)]:
        key = names.get(name)
        if key and environ[name].strip():
            layer[key] = Given(environ[name], f"environment {name}", base)
        elif not key and environ[name] and name not in DOOR_VARIABLES and not name.startswith(KUBERNETES):
            hint = _nearest(name, {plain: variable(key) for plain, key in _plain(keys).items()})
            raise ConfigError(f"{name} is not a setting{hint}.")
    return layer


def from_table(table: Mapping[str, object], keys: Collection[str], source: str, base: str) -> Layer:
    """What a TOML file says."""
    layer: Layer = {}
    for key, value in _flat(table).items():
        if any(known.startswith(f"{key}.") for known in keys):
            raise ConfigError(f"{key} in {source} is {value!r}; it is a table: [{key}].")
        if key not in keys:
            raise ConfigError(f"{key} in {source} is not a setting{_nearest(key, _plain(keys))}.")
        layer[key] = Given(value, source, base)
    return layer


def from_xray(environ: Mapping[str, str]) -> Layer:
    """The variables that X-Ray lets win over everything, and its switch."""
    return _named(environ, FROM_XRAY)


def from_ecosystem(environ: Mapping[str, str], warn: Callable[[str], None]) -> Layer:
    """The variables of OpenTelemetry and Application Insights."""
    return _resource(environ, warn) | _named(environ, FROM_ECOSYSTEM)


def from_platform(environ: Mapping[str, str]) -> Layer:
    """What a hosting platform says, if nobody else says anything."""
    return _named(environ, FROM_PLATFORM)


def _named(environ: Mapping[str, str], names: Mapping[str, str]) -> Layer:
    return {
        key: Given(environ[name].strip(), f"environment {name}")
        for name, key in names.items()
        if environ.get(name, "").strip()
    }


def _resource(environ: Mapping[str, str], warn: Callable[[str], None]) -> Layer:
    """`service.name` of `OTEL_RESOURCE_ATTRIBUTES`: `key=value` with commas between, percent-encoded."""
    pairs = [pair.partition("=") for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")]
    if any(key.strip() and not equals for key, equals, _ in pairs):
        warn("environment OTEL_RESOURCE_ATTRIBUTES has an entry that is not key=value, which is ignored.")
    name = {key.strip(): value.strip() for key, _, value in pairs}.get("service.name", "")
    if not name:
        return {}
    from urllib.parse import unquote

    return {"service": Given(unquote(name), "environment OTEL_RESOURCE_ATTRIBUTES")}


def _plain(keys: Collection[str]) -> dict[str, str]:
    return {key.replace(".", "_"): key for key in keys}


def _flat(table: Mapping[str, object]) -> dict[str, object]:
    """One level of tables as dotted keys; what is deeper is left for the setting to refuse."""
    flat: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            flat[key] = value
    return flat


def _nearest(name: str, written: Mapping[str, str]) -> str:
    """The hint for a typo, as the end of a sentence; `written` gives each plain spelling as it is written."""
    word = name.removeprefix(PREFIX).lower().replace(".", "_").replace("-", "_")
    found = [plain for plain in written if plain == word or plain.endswith(f"_{word}")]
    if not found:
        from difflib import get_close_matches

        found = get_close_matches(word, written, 1)
    return f"; the nearest is {written[found[0]]}" if found else ""
