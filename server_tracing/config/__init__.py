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
from server_tracing.config.file import read_table
from server_tracing.config.settings import (
    KEYS,
    PATHS,
    SETTINGS,
    Capture,
    Config,
    JournalSettings,
    Local,
    Sampling,
    Setting,
    XRay,
    value_of,
)
from server_tracing.config.sources import (
    PREFIX,
    RAW_TABLES,
    ConfigError,
    Given,
    Layer,
    from_arguments,
    from_ecosystem,
    from_environment,
    from_table,
    from_xray,
)
from server_tracing.statedir import absolute, choose_state_dir, resolve_state_dir
from server_tracing.units import Rate, printable

__all__ = [
    "Capture",
    "Config",
    "ConfigError",
    "JournalSettings",
    "Loaded",
    "Local",
    "Rate",
    "Sampling",
    "XRay",
    "describe",
    "destinations",
    "load",
    "resolve_state_dir",
]


DEFAULTS = dict.fromkeys(KEYS, "default")
TABLES: dict[str, Callable[..., object]] = {
    "sampling": Sampling,
    "capture": Capture,
    "journal": JournalSettings,
    "local": Local,
    "xray": XRay,
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
) -> Loaded:
    """Every setting from its strongest source; a `ConfigError` for the first one that is wrong."""
    environ = os.environ if environ is None else environ
    base = os.fspath(cwd) if cwd is not None else _working_directory()
    off = _switched_off(environ)
    try:
        return _load(environ, base, arguments or {}, off)
    except ConfigError as error:
        if not off:
            raise
        config = Config(enabled=False, state_dir=resolve_state_dir(environ))  # off beats even our complaints
        return Loaded(config, DEFAULTS | {"enabled": _source("enabled")}, [str(error)])


def _load(environ: Mapping[str, str], base: str, arguments: Mapping[str, object], off: bool) -> Loaded:
    warnings: list[str] = []
    table = read_table(environ, base, warnings.append)
    layer: Layer = {
        **from_table(table.settings, KEYS, table.source, table.directory),
        **_usable(from_ecosystem(environ, warnings.append), warnings.append),
        **from_environment(environ, KEYS, base),
        **from_arguments(arguments, KEYS, base),
        **_usable(from_xray(environ), warnings.append),
    }
    if off:
        layer["enabled"] = Given(False, _source("enabled"))
    values = {s.key: _understood(s, layer[s.key], environ) for s in SETTINGS if s.key in layer}
    state_dir = choose_state_dir(environ, values.get("state_dir"))
    values["state_dir"] = state_dir.path
    warnings += filter(None, (state_dir.note, accepted.headers_never_sent(values.get("capture.headers", ()))))
    sources = {key: given.source for key, given in layer.items()}
    return Loaded(_build(values, layer), DEFAULTS | sources, warnings)


def _understood(setting: Setting, given: Given, environ: Mapping[str, str]) -> Any:
    try:
        value = setting.read(given.value)
        if setting.key in PATHS:
            value = absolute(str(value), environ, given.base)
        if setting.key == "sampling.rules":
            accepted.check_rules(str(value))
    except ValueError as error:
        why = f": {error}" if str(error) else ""
        shown = accepted.shown(setting.key, given.value)
        message = f"{setting.key} ({given.source}) is {shown}{why}; accepted: {setting.accepts}."
        raise ConfigError(message) from None
    return value


def _usable(layer: Layer, warn: Callable[[str], None]) -> Layer:
    """What we can use of variables that are not ours."""
    usable = dict(layer)
    for setting in SETTINGS:
        given = layer.get(setting.key)
        if given is None:
            continue
        try:
            setting.read(given.value)
        except ValueError:
            del usable[setting.key]
            shown = accepted.shown(setting.key, given.value)
            warn(f"{given.source} is {shown} and is ignored; accepted: {setting.accepts}.")
    return usable


def _build(values: Mapping[str, Any], layer: Layer) -> Config:
    tables: dict[str, dict[str, Any]] = {table: {} for table in ("", *TABLES)}
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        tables[table][name] = value
    options: dict[str, dict[str, object]] = {}
    for key, given in layer.items():
        table, _, name = key.partition(".")
        if table in RAW_TABLES:
            options.setdefault(table, {})[name] = given.value
    understood: dict[str, Any] = {table: made(**tables[table]) for table, made in TABLES.items()}
    return _without_what_is_off(Config(**tables[""], **understood, options=options))


def _without_what_is_off(config: Config) -> Config:
    """X-Ray has a switch of its own. Off, its exporter is none; where it was the only one, nothing is on."""
    if config.xray.enabled or "xray" not in config.exporters:
        return config
    left = tuple(name for name in config.exporters if name != "xray")
    return replace(config, exporters=left, enabled=config.enabled and bool(left))


def describe(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Rows of key, value as people write it (secrets masked), and source."""
    rows = [(s.key, _shown(s, value_of(loaded.config, s.key)), loaded.sources[s.key]) for s in SETTINGS]
    for table, options in sorted(loaded.config.options.items()):
        for name, value in sorted(options.items()):
            key = f"{table}.{name}"
            rows.append((key, accepted.shown(key, value, str), loaded.sources[key]))
    return rows


def destinations(config: Config) -> str:
    """A stable digest of the exporters and where they deliver: only the like-minded may share journals."""
    from hashlib import sha256

    from msgspec import json

    where = {
        table: {name: str(value) for name, value in _table(config, table).items() if name in accepted.WHERE}
        for table in config.exporters
    }
    return sha256(json.encode((sorted(config.exporters), where), order="deterministic")).hexdigest()[:16]


def _table(config: Config, name: str) -> Mapping[str, object]:
    """All that is set for one exporter."""
    typed = getattr(config, name, None)
    return structs.asdict(typed) if isinstance(typed, Struct) else config.options.get(name, {})


def _shown(setting: Setting, value: Any) -> str:
    if value is None or value == "":
        return setting.absent
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return printable(", ".join(value)) or "none"
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
