"""`XRAY_RECORDER`, and `xray_recorder.configure(...)`: the X-Ray SDK's settings as ours.

https://docs.aws.amazon.com/xray-sdk-for-python/latest/reference/frameworks.html
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import json

from server_tracing.application.adopted import Adopted

CODE = "xray_recorder.configure"
UNSET: tuple[object, ...] = (None, (), [], "")
SETTLED = "it is so here anyway"
BUILT_IN = {"version": 2, "default": {"fixed_target": 1, "rate": 0.05}, "rules": []}  # the SDK's own


def read(settings: Mapping[str, Any] | None, where: str, recorder: Any = None) -> list[Adopted]:
    """Every entry, and what becomes of it; without the dictionary, what code told the recorder."""
    if settings is None:
        return [] if recorder is None else told(recorder)
    return [entry(str(key), value, where) for key, value in settings.items()]


def entry(key: str, value: Any, where: str) -> Adopted:
    """One key of `XRAY_RECORDER`."""
    name = f"XRAY_RECORDER[{key!r}]"
    if key not in KEYS:
        return Adopted(name, where, value, remark="ignored: the SDK knows no such key")
    if value in UNSET:
        return Adopted(name, where, value, remark="ignored: it says nothing")
    try:
        gives, remark = KEYS[key](value)
    except (TypeError, ValueError):
        return Adopted(name, where, value, remark="ignored: it is not what the SDK takes", refused=True)
    return Adopted(name, where, value, gives, remark)


Read = Callable[[Any], tuple[Mapping[str, object], str]]


def setting(key: str) -> Read:
    """The same under a name of ours."""
    return lambda value: ({key: value if isinstance(value, (str, int, float)) else list(value)}, "")


def nothing(remark: str) -> Read:
    """No setting of ours."""
    return lambda value: ({}, remark)


def sampling(value: Any) -> tuple[Mapping[str, object], str]:
    """A switch: off, every request is sampled."""
    return ({}, SETTLED) if value else ({"xray.sampling": "ratio", "sampling.rate": 1.0}, "")


def sampling_rules(value: Any) -> tuple[Mapping[str, object], str]:
    """The path of a file, or the rules themselves."""
    return {"sampling.rules": json.encode(value).decode() if isinstance(value, Mapping) else str(value)}, ""


def sampler(value: Any) -> tuple[Mapping[str, object], str]:
    """The SDK's two samplers are understood: rules of a file, beneath the console's or alone."""
    if hasattr(value, "_local_sampler"):
        rules = local_rules(value._local_sampler)
        return ({}, SETTLED) if rules == BUILT_IN else sampling_rules(rules)
    if hasattr(value, "_default_rule"):
        return {"xray.sampling": "ratio", **sampling_rules(local_rules(value))[0]}, ""
    return {}, "ignored: the server decides, see xray.sampling"


def local_rules(sampler: Any) -> Mapping[str, Any]:
    """The rules of a sampler of the SDK, as in a file."""
    default = sampler._default_rule
    return {
        "version": 2,
        "default": {"fixed_target": default.fixed_target, "rate": default.rate},
        "rules": [
            {
                "host": rule.host,
                "http_method": rule.method,
                "url_path": rule.path,
                "fixed_target": rule.fixed_target,
                "rate": rule.rate,
            }
            for rule in sampler._rules
        ],
    }


def dynamic_naming(value: Any) -> tuple[Mapping[str, object], str]:
    """A pattern; an object that names is the application's code, which the exporter does not run."""
    if isinstance(value, str):
        return {"dynamic_naming": value}, ""
    return {}, "ignored: only a pattern can be taken over; set dynamic_naming"


def auto_instrument(value: Any) -> tuple[Mapping[str, object], str]:
    """Whether cursors and templates are instrumented."""
    return {}, "done: database cursors and templates are instrumented" if value else "done: nothing is"


def urls_as_annotation(value: Any) -> tuple[Mapping[str, object], str]:
    """Only outside of Lambda is of interest here."""
    if value == "ALL":
        return {}, "ignored: what it annotates stands in every segment's http block"
    return {}, SETTLED


KEYS: dict[str, Read] = {
    "AWS_XRAY_DAEMON_ADDRESS": setting("xray.daemon_address"),
    "AUTO_INSTRUMENT": auto_instrument,
    "AWS_XRAY_CONTEXT_MISSING": setting("xray.context_missing"),
    "PLUGINS": setting("xray.plugins"),
    "SAMPLING": sampling,
    "SAMPLING_RULES": sampling_rules,
    "SAMPLER": sampler,
    "AWS_XRAY_TRACING_NAME": setting("service"),
    "DYNAMIC_NAMING": dynamic_naming,
    "STREAMING_THRESHOLD": setting("xray.streaming_threshold"),
    "MAX_TRACE_BACK": nothing("ignored: stacks are kept whole, and trimmed where a segment is too large"),
    "STREAM_SQL": nothing("done: the SDK's patches ask for it"),
    "PATCH_MODULES": setting("xray.patch"),
    "AUTO_PATCH_PARENT_SEGMENT_NAME": nothing("ignored: to patch modules needs no segment here"),
    "IGNORE_MODULE_PATTERNS": nothing("done: modules that match are not patched"),
    "URLS_AS_ANNOTATION": urls_as_annotation,
}


# ------------------------------------------------------------ by code


def recorder() -> Any:
    """The SDK's recorder, where the application has imported it."""
    return getattr(sys.modules.get("aws_xray_sdk.core"), "xray_recorder", None)


def told(recorder: Any) -> list[Adopted]:
    """What code told the recorder beyond its defaults."""
    emitter, naming = recorder.emitter, recorder.dynamic_naming
    address = f"{getattr(emitter, '_ip', '')}:{getattr(emitter, '_port', '')}"
    seen = {
        "service": ("service", recorder.service),
        "dynamic_naming": ("dynamic_naming", getattr(naming, "_pattern", None)),
        "daemon_address": ("xray.daemon_address", None if address in ("127.0.0.1:2000", ":") else address),
        "streaming_threshold": ("xray.streaming_threshold", not_default(recorder.streaming_threshold, 30)),
        "plugins": ("xray.plugins", [name for name in recorder._aws_metadata if name != "xray"] or None),
    }
    found = [
        Adopted(f"{name}=", CODE, value, {key: value})
        for name, (key, value) in seen.items()
        if value is not None
    ]
    if recorder.sampling is False:
        return [*found, Adopted("sampling=", CODE, False, sampling(False)[0])]
    gives, remark = sampler(recorder.sampler)
    if remark != SETTLED:
        found.append(Adopted("sampler=", CODE, type(recorder.sampler).__name__, gives, remark))
    return found


def not_default(value: Any, default: object) -> Any:
    """None for what nobody has said."""
    return None if value == default else value
