"""The settings file: which one counts, whether it may be read, and what its table holds.

`SERVER_TRACING_CONFIG` names it; else `./server_tracing.toml`, else `[tool.server_tracing]` in
`./pyproject.toml`. A file of another user than ours or root could be anybody's, and is not read. One that
was named and cannot be read stops the start; one that merely lies there and cannot be read is a warning.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from server_tracing.config.sources import ConfigError
from server_tracing.statedir import absolute, user_name

LIMIT = 1 << 20  # nobody's settings are larger; a device or a log file is


class Table(NamedTuple):
    """The settings of a file, and how to speak of it."""

    settings: Mapping[str, object] = {}
    source: str = ""
    directory: str = ""


def read_table(environ: Mapping[str, str], cwd: str, warn: Callable[[str], None]) -> Table:
    """The one table that counts; an empty one where there is none."""
    named = environ.get("SERVER_TRACING_CONFIG", "").strip()
    if named:
        return _named(named, absolute(named, environ, cwd))
    for name in ("server_tracing.toml", "pyproject.toml"):
        try:
            data = _read(os.path.join(cwd, name))
        except FileNotFoundError:
            continue
        except (OSError, NotOursError) as error:
            warn(f"./{name} is not read: {_reason(error)}.")
            continue
        settings = _settings(data, f"./{name}", name == "pyproject.toml")
        if settings is not None:
            return Table(settings, f"file ./{name}", cwd)
    return Table()


class NotOursError(Exception):
    """The file belongs to another user, or is no file at all."""


def _named(name: str, path: str) -> Table:
    try:
        data = _read(path)
    except (OSError, ValueError, NotOursError) as error:
        message = f"environment SERVER_TRACING_CONFIG is {name!r}, which cannot be read: {_reason(error)}."
        raise ConfigError(message) from None
    settings = _settings(data, name, os.path.basename(path) == "pyproject.toml")
    if settings is None:
        raise ConfigError(f"{name} has no table [tool.server_tracing]; SERVER_TRACING_CONFIG names it.")
    return Table(settings, f"file {name}", os.path.dirname(path))


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not stop the start
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise NotOursError("it is not a regular file")
        if info.st_uid not in (0, os.geteuid()):
            raise NotOursError(
                f"it belongs to {user_name(info.st_uid)}, not to {user_name(os.geteuid())} or root"
            )
        if info.st_size > LIMIT:
            raise NotOursError("it is larger than 1MiB")
        return os.read(descriptor, LIMIT)
    finally:
        os.close(descriptor)


def _settings(data: bytes, name: str, project: bool) -> Mapping[str, object] | None:
    """The table of our settings; None if a project's file does not speak of us."""
    if project and b"server_tracing" not in data and b"server-tracing" not in data:
        return None  # another tool's file: not even parsed
    table = _parse(data, name)
    if not project:
        return table
    tools = table.get("tool")
    tools = tools if isinstance(tools, Mapping) else {}
    if "server-tracing" in tools:
        raise ConfigError(f"{name} has a table [tool.server-tracing]; ours is spelt [tool.server_tracing].")
    settings = tools.get("server_tracing")
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(f"tool.server_tracing in {name} is {settings!r}; it is a table.")
    return settings


def _parse(data: bytes, name: str) -> Mapping[str, object]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name} is not UTF-8 text (line {line}).") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{name} is not valid TOML: {error}.") from None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
