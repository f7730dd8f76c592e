"""What single settings accept: readers for config/settings.py's table; `ValueError` for what they refuse."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TypeVar

from server_tracing import daemon_address as daemon
from server_tracing.units import Rate, duration, duration_text, printable, rate, switch, words

EXPORTERS = ("local", "console", "jsonl", "memory", "xray", "azure")
EXPORTERS_ACCEPTED = f"a list of {', '.join(EXPORTERS)}, or your own as module:Class"

PLUGINS = ("ec2", "ecs", "eks", "elastic_beanstalk")
CONTEXT_MISSING = ("RUNTIME_ERROR", "LOG_ERROR", "IGNORE_ERROR")
NEVER_SENT = frozenset(("authorization", "cookie", "cookie2", "proxy-authorization", "set-cookie"))

# Compiled when used: few settings are, and every start pays for what stands at the top of a module.
_HIDDEN_NAMES = r"(?i)key|secret|token|passw|credential|connection_string"
_HIDDEN_VALUES = r"(?i)(?:key|secret|token|passw|credential|sig)\w*\s*=|://\S*@"
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_MODULE = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_HEADER = r"[a-z0-9!#$%&'+.^_`|~-]{1,100}"  # RFC 9110, 5.6.2, but no `*`: names, not globs
_HOST_PATTERN = r"[A-Za-z0-9.:_*?\[\]-]{1,200}"


def text(value: object) -> str:
    """Text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def is_no_place(path: str) -> bool:
    """Whether what stands for a path is none: standard output, or a file's text in its place."""
    return path == "-" or path.lstrip().startswith("{")


def service(value: object) -> str:
    """A name people and backends can show: control characters are left out."""
    name = "".join(filter(str.isprintable, text(value)))
    if not 1 <= len(name) <= 200:
        raise ValueError
    return name


def pattern(value: object) -> str | None:
    """A host name with `*` and `?`; `off` for none."""
    host = text(value)
    if host.lower() in ("off", "none"):
        return None
    if not re.fullmatch(_HOST_PATTERN, host):
        raise ValueError
    return host


def path(value: object) -> str:
    """A path the operating system can take."""
    name = text(value)
    if "\0" in name:
        raise ValueError
    return name


def check_rules(path: str) -> None:
    """Refuse a file of sampling rules at the start that the sampler would refuse in a worker."""
    from server_tracing.sampling.rules import RulesError, is_rules, load

    if not is_rules(path) and not os.path.isfile(path):  # a FIFO would be waited for
        raise ValueError("there is no such file")
    try:
        load(path)
    except RulesError as error:
        raise ValueError(str(error)) from None


def exporters(value: object) -> tuple[str, ...]:
    """Names of exporters, ours or `module:Class`."""
    names = words(value)
    if not names:
        raise ValueError("to record nothing, set enabled to false")
    return tuple(dict.fromkeys(map(_exporter, names)))


def _exporter(name: str) -> str:
    if name.lower() in EXPORTERS:
        return name.lower()
    if not re.fullmatch(_DOTTED, name):
        raise ValueError(f"there is no exporter {shown('', name)}")
    return name


def dotted(value: object) -> str:
    """The import string of something: `module:name`."""
    name = text(value)
    if not re.fullmatch(_DOTTED, name):
        raise ValueError(f"{shown('', name)} is not module:name")
    return name


def module_names(value: object) -> tuple[str, ...]:
    """Names of modules."""
    names = words(value)
    for name in names:
        if not re.fullmatch(_MODULE, name):
            raise ValueError(f"{shown('', name)} is no module")
    return names


def one_of(*names: str) -> Callable[[object], str]:
    """One word of several."""

    def read(value: object) -> str:
        name = text(value).lower()
        if name not in names:
            raise ValueError
        return name

    return read


def some_of(*names: str) -> Callable[[object], tuple[str, ...]]:
    """A list of some of these words, in the user's order."""

    def read(value: object) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(one_of(*names), words(value))))

    return read


def keep_errors(value: object) -> bool | Rate:
    """All, none, or so many per time."""
    return rate(value) if isinstance(value, str) and "/" in value else switch(value)


def duration_or_off(off: float | None) -> Callable[[object], float | None]:
    """A duration above zero; `off` and false give `off`."""

    def read(value: object) -> float | None:
        if value is False or str(value).strip().lower() in ("off", "none", "no", "false", "never"):
            return off
        seconds = duration(value)
        if seconds <= 0:
            raise ValueError
        return seconds

    return read


def duration_or_off_text(value: float) -> str:
    """A duration as people write it; 0 is off."""
    return duration_text(value) if value else "off"


Number = TypeVar("Number", int, float)


def within(read: Callable[[object], Number], low: Number, high: Number) -> Callable[[object], Number]:
    """A number within bounds."""

    def bounded(value: object) -> Number:
        number = read(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return bounded


def header_names(value: object) -> tuple[str, ...]:
    """Names of headers, in lower case."""
    names = tuple(dict.fromkeys(name.lower() for name in words(value)))
    if not all(re.fullmatch(_HEADER, name) for name in names):
        raise ValueError
    return names


def headers_never_sent(names: tuple[str, ...]) -> str:
    """The warning about names on the allow-list that are never recorded."""
    refused = sorted(NEVER_SENT.intersection(names))
    return f"capture.headers names {', '.join(refused)}, which is never recorded." if refused else ""


def addresses(value: object) -> tuple[str, ...]:
    """Addresses and networks, `*` for everybody."""
    from ipaddress import ip_network

    names = words(value)
    for name in names:
        try:
            if name != "*" and not name.startswith("unix:"):
                ip_network(name, strict=False)
        except ValueError:
            raise ValueError(f"{shown('', name)} is no address") from None
    return names


def daemon_address(value: object) -> str:
    """Where X-Ray's daemon listens, in either of the SDK's two spellings, IPv6 in brackets."""
    written = " ".join(text(value).split())
    daemon.parse(written)
    return written


def region(value: object) -> str:
    """The name of an AWS region."""
    name = text(value).lower()
    if not re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-[0-9]+", name):
        raise ValueError
    return name


def endpoint(value: object) -> str:
    """The URL of a service."""
    url = text(value)
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
        raise ValueError
    return url.rstrip("/")


def plugins(value: object) -> tuple[str, ...]:
    """X-Ray's plugins by our names or by the SDK's: `ecs`, `ECSPlugin`."""
    known = {name.replace("_", ""): name for name in PLUGINS}
    found = {}
    for word in words(value):
        plain = word.lower().removesuffix("plugin").replace("_", "")
        if plain not in known:
            raise ValueError(f"there is no plugin {shown('', word)}")
        found[known[plain]] = True
    return tuple(found)


def context_missing(value: object) -> str:
    """What the SDK does where there is no segment."""
    return one_of(*map(str.lower, CONTEXT_MISSING))(value).upper()


def name_of(value: object) -> str:
    """What to call a thing that code may give where a file gives its name."""
    return value if isinstance(value, str) else getattr(value, "__qualname__", type(value).__qualname__)


def masked(_value: object) -> str:
    """What people see of a secret."""
    return "***"


def shown(key: str, value: object, write: Callable[[object], str] = repr) -> str:
    """A value as a person may see it: short, without control characters, and no secrets."""
    if re.search(_HIDDEN_NAMES, key) or re.search(_HIDDEN_VALUES, str(value)):
        return "***"
    written = printable(write(value))
    return written if len(written) <= 100 else f"{written[:97]}..."
