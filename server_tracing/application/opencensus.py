"""`OPENCENSUS["TRACE"]`: OpenCensus' settings as ours, in the forms its documentation shows, old and new.

https://github.com/census-instrumentation/opencensus-python, the READMEs of its integrations for Django, Flask
and Pyramid: a sampler, an exporter and a propagator, each an object or an expression in a string, and lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from server_tracing.application.adopted import Adopted
from server_tracing.application.expressions import Call, ExpressionError, parse

Gives = tuple[Mapping[str, object], str]
WINDOW = 48 * 3600.0  # seconds after which the service rejects an item for its age

# What AzureExporter is told: its option, and our setting.
OPTIONS = {
    "connection_string": "azure.connection_string",
    "instrumentation_key": "azure.instrumentation_key",
    "credential": "azure.credential",
    "proxies": "azure.proxies",
    "timeout": "azure.timeout",
    "storage_max_size": "azure.storage_max_size",
    "storage_retention_period": "azure.storage_retention",
}
OURS = {
    "SAMPLER": "sampling.rate",
    "EXPORTER": "azure.connection_string",
    "PROPAGATOR": "propagation",
    "EXCLUDELIST_PATHS": "exclude",
    "BLACKLIST_PATHS": "exclude",
    "EXCLUDELIST_HOSTNAMES": "azure.excluded_hosts",
    "BLACKLIST_HOSTNAMES": "azure.excluded_hosts",
}
PROPAGATORS = {
    "TraceContextPropagator": "w3c",
    "B3FormatPropagator": "b3",
    "GoogleCloudFormatPropagator": "google",
}


def read(trace: Mapping[str, Any], where: str) -> list[Adopted]:
    """Every entry, and what becomes of it."""
    return [entry(str(key), value, where) for key, value in trace.items()]


def entry(key: str, value: Any, where: str) -> Adopted:
    """One key of the dictionary, or what middleware was told under its name."""
    name = f"{key.lower()}=" if where.endswith("Middleware") else f"OPENCENSUS['TRACE'][{key!r}]"
    if key not in KEYS:
        return Adopted(name, where, None, remark="ignored: OpenCensus knows no such key")
    if value is None:
        return Adopted(name, where, None, remark="ignored: it says nothing")
    try:
        gives, remark = KEYS[key](value)
    except ExpressionError as error:
        return Adopted(name, where, None, remark=f"ignored: {error}; set {OURS[key]}", refused=True)
    return Adopted(name, where, None, gives, remark)


def seen(value: Any) -> Call:
    """An object or an expression as what it is called and was told."""
    if isinstance(value, str):
        return parse(value)
    kind = value if isinstance(value, type) else type(value)
    told = vars(value) if hasattr(value, "__dict__") and not isinstance(value, type) else {}
    return Call(f"{kind.__module__}.{kind.__qualname__}", (), dict(told))


def sampler(value: Any) -> Gives:
    """All, nothing, or a share of the traces."""
    found = seen(value)
    if found.kind == "AlwaysOnSampler":
        return {"sampling.rate": 1.0}, ""
    if found.kind == "AlwaysOffSampler":
        return {"sampling.rate": 0.0}, ""
    if found.kind == "ProbabilitySampler":
        rate = found.named.get("rate", found.arguments[0] if found.arguments else 1e-4)
        return {"sampling.rate": rate}, ""
    return {}, f"ignored: {found.kind} is none of OpenCensus' samplers; set sampling.rate"


def propagator(value: Any) -> Gives:
    """The format of the headers."""
    found = seen(value)
    if found.kind in PROPAGATORS:
        return {"propagation": [PROPAGATORS[found.kind]]}, ""
    return {}, f"ignored: {found.kind} reads no header of a request; set propagation"


def exporter(value: Any) -> Gives:
    """Application Insights', with what it was told."""
    found = seen(value)
    if found.kind != "AzureExporter":
        return {}, f"ignored: {found.kind} does not send to Application Insights, and is left as it is"
    given = found.named if isinstance(value, str) else of_options(getattr(value, "options", None))
    gives = {OPTIONS[name]: option(name, told) for name, told in given.items() if name in OPTIONS}
    left = sorted(name for name in given if name not in OPTIONS)
    usable = {key: told for key, told in gives.items() if told is not None}
    return usable, f"{', '.join(left)} in it ignored: the server has its own ways" if left else ""


def option(name: str, value: Any) -> Any:
    """One option in our words."""
    if name == "storage_retention_period":
        return min(float(value), WINDOW) if isinstance(value, (int, float)) else None
    if name == "credential" and isinstance(value, Call):
        return value.kind
    return value


def of_options(options: Any) -> dict[str, Any]:
    """The options of an exporter that exists: where it sends, and with what credential."""
    told = {name: getattr(options, name, None) for name in ("connection_string", "credential", "proxies")}
    key, endpoint = getattr(options, "instrumentation_key", None), getattr(options, "endpoint", None)
    if not told["connection_string"] and key:
        told["connection_string"] = f"InstrumentationKey={key}" + (
            f";IngestionEndpoint={endpoint}" if endpoint else ""
        )
    return {name: value for name, value in told.items() if value}


def paths(value: Any) -> Gives:
    """Paths are excluded that begin so; OpenCensus compares them without their first slash."""
    entries = texts(value)
    kept = [path for path in entries if not path.startswith("/") and "://" not in path]
    never = [path for path in entries if path not in kept]
    remark = f"{', '.join(never)} ignored: no path, as OpenCensus compares it, begins so" if never else ""
    return ({"exclude": kept} if kept else {}), remark


def hostnames(value: Any) -> Gives:
    """Where calls go that integrations do not tell of."""
    return {"azure.excluded_hosts": texts(value)}, ""


def texts(value: Any) -> list[str]:
    """A list; OpenCensus would take a string for a list of its letters."""
    words = value.split(",") if isinstance(value, str) else value
    try:
        return [str(word).strip() for word in words if str(word).strip()]
    except TypeError:
        raise ExpressionError("it is no list") from None


KEYS: dict[str, Callable[[Any], Gives]] = {
    "SAMPLER": sampler,
    "EXPORTER": exporter,
    "PROPAGATOR": propagator,
    "EXCLUDELIST_PATHS": paths,
    "BLACKLIST_PATHS": paths,
    "EXCLUDELIST_HOSTNAMES": hostnames,
    "BLACKLIST_HOSTNAMES": hostnames,
}
