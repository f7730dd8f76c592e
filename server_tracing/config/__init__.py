"""Loads the settings: asks the sources (config/sources.py, config/file.py), the strongest last.

Only what won is understood: a wrong value that another source overrides hurts nobody. The result is
immutable and goes to whoever needs it; nothing else in the package asks the environment for a setting.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct, structs
from msgspec.structs import replace

from server_tracing.config import accepted
from server_tracing.config.azure import Azure, contradiction
from server_tracing.config.file import read_table
from server_tracing.config.setting import Setting
from server_tracing.config.settings import (
    KEYS,
    PATHS,
    SETTINGS,
    Capture,
    Config,
    JournalSettings,
    JsonLines,
    Local,
    Sampling,
    XRay,
    default,
    value_of,
)
from server_tracing.config.sources import (
    PREFIX,
    ConfigError,
    Given,
    Layer,
    from_arguments,
    from_ecosystem,
    from_environment,
    from_platform,
    from_table,
    from_xray,
    merged,
)
from server_tracing.statedir import absolute, choose_state_dir, resolve_state_dir
from server_tracing.units import Rate, is_unicode, printable

__all__ = [
    "Azure",
    "Capture",
    "Config",
    "ConfigError",
    "Given",
    "JournalSettings",
    "JsonLines",
    "Loaded",
    "Local",
    "Rate",
    "Sampling",
    "XRay",
    "beneath",
    "check_whole",
    "describe",
    "destinations",
    "load",
    "resolve_state_dir",
    "table",
    "without_exporter",
]


DEFAULTS = dict.fromkeys(KEYS, "default")
TABLES: dict[str, Callable[..., object]] = {
    "sampling": Sampling,
    "capture": Capture,
    "journal": JournalSettings,
    "local": Local,
    "jsonl": JsonLines,
    "xray": XRay,
    "azure": Azure,
}


class Loaded(NamedTuple):
    """The settings, where each came from, and what had to be ignored."""

    config: Config
    sources: dict[str, str]
    warnings: list[str]


def load(
    environ: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    arguments: Mapping[str, object] | None = None,
    *,
    completed_later: bool = False,
) -> Loaded:
    """Every setting from its strongest source; a `ConfigError` for the first one that is wrong. What is
    missing is no error yet where an application is going to complete them (server_tracing/application)."""
    environ = os.environ if environ is None else environ
    base = os.fspath(cwd) if cwd is not None else _working_directory()
    off = _switched_off(environ)
    try:
        return _load(environ, base, arguments or {}, off, completed_later)
    except ConfigError as error:
        if not off:
            raise
        config = Config(enabled=False, state_dir=resolve_state_dir(environ))  # off beats even our complaints
        return Loaded(config, DEFAULTS | {"enabled": _source("enabled")}, [str(error)])


def _load(
    environ: Mapping[str, str], base: str, arguments: Mapping[str, object], off: bool, completed_later: bool
) -> Loaded:
    warnings: list[str] = []
    file = read_table(environ, base, warnings.append)
    layer = merged(
        _usable(from_platform(environ), warnings.append),
        from_table(file.settings, KEYS, file.source, file.directory),
        _usable(from_ecosystem(environ, warnings.append), warnings.append),
        from_environment(environ, KEYS, base),
        from_arguments(arguments, KEYS, base),
        _usable(from_xray(environ), warnings.append),
    )
    if off:
        layer["enabled"] = Given(False, _source("enabled"))
    values = {s.key: _understood(s, layer[s.key], environ) for s in SETTINGS if s.key in layer}
    state_dir = choose_state_dir(environ, values.get("state_dir"))
    values["state_dir"] = state_dir.path
    if not is_unicode(state_dir.path):
        raise ConfigError(f"state_dir is {state_dir.path}, which is not UTF-8: name another directory.")
    warnings += filter(None, (state_dir.note, accepted.headers_never_sent(values.get("capture.headers", ()))))
    sources = {key: given.source for key, given in layer.items()}
    loaded = _without_what_is_off(Loaded(_build(values), DEFAULTS | sources, warnings))
    if loaded.config.by_xray and "sampling.rate" in layer:
        source = layer["sampling.rate"].source
        warnings.append(f"sampling.rate ({source}) decides nothing: X-Ray's rules do; see xray.sampling.")
    if not completed_later:
        check_whole(loaded)
    return loaded


def check_whole(loaded: Loaded) -> None:
    """A `ConfigError` where settings that belong together are missing."""
    config = loaded.config
    if "azure" in config.exporters and (sentence := contradiction(config.azure)):
        raise ConfigError(" ".join([*loaded.warnings, sentence]))  # they may say why nothing is set


def beneath(loaded: Loaded, layer: Layer) -> Loaded:
    """The settings with those of a weaker source where nothing is said; what cannot be used is a warning."""
    warnings = list(loaded.warnings)
    unsaid = {key: given for key, given in layer.items() if _is_unsaid(loaded, key)}
    usable = _usable(unsaid, warnings.append)
    config, sources = loaded.config, dict(loaded.sources)
    for setting in SETTINGS:
        if setting.key in usable:
            try:
                value = _understood(setting, usable[setting.key], os.environ)
            except ConfigError as error:
                warnings.append(f"{error} It is ignored.")
            else:
                config = _with(config, setting.key, value)
                sources[setting.key] = usable[setting.key].source
    return _without_what_is_off(Loaded(config, sources, warnings))


def without_exporter(loaded: Loaded, name: str) -> Loaded:
    """The same without an exporter that cannot work; off, where it is the only one."""
    left = tuple(other for other in loaded.config.exporters if other != name)
    config = replace(loaded.config, exporters=left, enabled=loaded.config.enabled and bool(left))
    return loaded._replace(config=config)


def _is_unsaid(loaded: Loaded, key: str) -> bool:
    """Whether a setting has its default because nobody said anything, as far as that is known."""
    unknown = loaded.sources.get(key, "default") == "default"
    return bool(unknown and value_of(loaded.config, key) == default(key))


def _with(config: Config, key: str, value: object) -> Config:
    """One setting changed."""
    where, _, name = key.rpartition(".")
    if not where:
        return replace(config, **{name: value})
    return replace(config, **{where: replace(getattr(config, where), **{name: value})})


def _understood(setting: Setting, given: Given, environ: Mapping[str, str]) -> Any:
    try:
        value = _read(setting, given.value)
        if setting.key in PATHS and not accepted.is_no_place(str(value)):
            value = absolute(str(value), environ, given.base)
        if setting.key == "sampling.rules":
            accepted.check_rules(str(value))
    except ValueError as error:
        why = f": {error}" if str(error) else ""
        shown = accepted.shown(setting.key, given.value)
        message = f"{setting.key} ({given.source}) is {shown}{why}; accepted: {setting.accepts}."
        raise ConfigError(message) from None
    return value


def _read(setting: Setting, given: object) -> Any:
    """Its value; ValueError if it is none. Journals and records, which say some of them, are UTF-8."""
    if isinstance(given, str) and not is_unicode(given):
        raise ValueError("not UTF-8")
    return setting.read(given)


def _usable(layer: Layer, warn: Callable[[str], None]) -> Layer:
    """What we can use of variables that are not ours."""
    usable = dict(layer)
    for setting in SETTINGS:
        given = layer.get(setting.key)
        if given is None:
            continue
        try:
            _read(setting, given.value)
        except ValueError as error:
            del usable[setting.key]
            shown = accepted.shown(setting.key, given.value) + (f" ({error})" if str(error) else "")
            warn(f"{given.source} is {shown} and is ignored; accepted: {setting.accepts}.")
    return usable


def _build(values: Mapping[str, Any]) -> Config:
    tables: dict[str, dict[str, Any]] = {name: {} for name in ("", *TABLES)}
    for key, value in values.items():
        where, _, name = key.rpartition(".")
        tables[where][name] = value
    understood: dict[str, Any] = {name: made(**tables[name]) for name, made in TABLES.items()}
    return Config(**tables[""], **understood)


def _without_what_is_off(loaded: Loaded) -> Loaded:
    """X-Ray has a switch of its own. Off, its exporter is none; where it was the only one, nothing is on."""
    if loaded.config.xray.enabled or "xray" not in loaded.config.exporters:
        return loaded
    left = without_exporter(loaded, "xray")
    by_this = loaded.config.enabled and not left.config.enabled
    sources = {"enabled": loaded.sources.get("xray.enabled", "default")} if by_this else {}
    return left._replace(sources=loaded.sources | sources)


def describe(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Rows of key, value as people write it (secrets masked), and source."""
    return [(s.key, _shown(s, value_of(loaded.config, s.key)), loaded.sources[s.key]) for s in SETTINGS]


def destinations(config: Config) -> str:
    """A stable digest of the exporters and where they deliver: only the like-minded may share journals."""
    from hashlib import sha256

    from msgspec import json

    where: dict[str, dict[str, str]] = {exporter: {} for exporter in config.exporters}
    for setting in SETTINGS:
        exporter, _, name = setting.key.partition(".")
        if setting.where and exporter in where:
            where[exporter][name] = str(value_of(config, setting.key))
    return sha256(json.encode((sorted(config.exporters), where), order="deterministic")).hexdigest()[:16]


def table(config: Config, name: str) -> dict[str, object]:
    """All that is set for one exporter: the table of its name."""
    typed = getattr(config, name, None)
    return structs.asdict(typed) if isinstance(typed, Struct) else {}


def _shown(setting: Setting, value: Any) -> str:
    if value is None or value == "":
        return setting.absent
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return printable(", ".join(map(accepted.name_of, value))) or "none"
    return printable(setting.show(value))


def _switched_off(environ: Mapping[str, str]) -> bool:
    text = environ.get(f"{PREFIX}ENABLED", "")
    setting = SETTINGS[0]
    return bool(text.strip()) and not _understood(setting, Given(text, _source("enabled")), environ)


def _source(key: str) -> str:
    return f"environment {PREFIX}{key.upper()}"


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # deleted under us
        return "/"
