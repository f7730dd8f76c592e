"""Names: the service a request belongs to, what is not recorded at all, and a route where there is none.

Hosts and paths are written by whoever sends the request: nothing here raises, takes long, or lets them make
up more names than a backend can bear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from server_tracing.config import Config
from server_tracing.naming.routeless import routeless_name
from server_tracing.naming.wildcard import Wildcard

__all__ = ["Excluder", "Namer", "clean_host", "routeless_name", "service_name"]

MOST_NAMES = 100  # of dynamic ones; a forger's next host name is the service's
MOST_REMEMBERED = 1024
LONGEST_HOST = 200
LONGEST_PATH = 256  # remembered

_HOST = re.compile(r"([a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)\.?(?::[0-9]{0,5})?")  # RFC 3986, 3.2.2, and `_`
_ADDRESS = re.compile(r"\[([0-9a-f:.]*:[0-9a-f:.]*)\](?::[0-9]{0,5})?")  # an IPv6 literal
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")  # scheme and authority, as proxies send them
_METHOD = re.compile(r"([A-Za-z]+)\s+(.+)")


def service_name(config: Config, app: str | None = None) -> str:
    """The service: as set, else the module of the application (`shop:app` is `shop`)."""
    return config.service or (app or "").partition(":")[0].strip() or "application"


def clean_host(host: str | None) -> str | None:
    """A host as a name: in lower case, without port and root dot; None if no host is spelt like that."""
    if not host or len(host) > LONGEST_HOST:
        return None
    found = _HOST.fullmatch(host.lower()) or _ADDRESS.fullmatch(host.lower())
    return found[1] if found else None


Key = TypeVar("Key")


class Namer:
    """Names requests by host where `dynamic_naming` says so, by service where not."""

    def __init__(self, config: Config, app: str | None = None) -> None:
        self._fallback = service_name(config, app)
        self._matches = Wildcard(config.dynamic_naming).matches if config.dynamic_naming else None
        self._known: set[str] = set()
        self._names: dict[str, str] = {}  # host as received -> name

    def service(self, host: str | None) -> str:
        """The name for a request to `host`."""
        if self._matches is None or not host:
            return self._fallback
        return self._names.get(host) or self._find(host, self._matches)

    def _find(self, host: str, matches: Callable[[str], bool]) -> str:
        name = clean_host(host)
        if name is None or not matches(name):
            return self._fallback
        if name not in self._known and len(self._known) >= MOST_NAMES:
            return self._fallback
        self._known.add(name)
        if len(self._names) < MOST_REMEMBERED:  # the spellings of a name are without number
            self._names[host] = name
        return name

    def __repr__(self) -> str:
        return f"<Namer {self._fallback} · {len(self._known)} hosts>"


class Excluder:
    """Says which requests are not recorded. An entry is one of

    - `/health`: exactly that path; `/static/*`: with `*` and `?`;
    - `GET /static/*`: the same for one method;
    - `host:internal.*`: a host, its port left aside;
    - `health`: without a leading slash, OpenCensus' meaning: every path that begins with it (`/healthz` too),
      the query counted in; with a `*` in it, a pattern for the path without its slash.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._exact: set[str] = set()
        self._globs: list[tuple[str, Wildcard]] = []  # method or "", path
        self._hosts: list[Wildcard] = []
        self._prefixes: tuple[str, ...] = ()
        self._methods: set[tuple[str, str]] = set()
        self._paths: dict[tuple[str, str], bool] = {}  # remembered
        self._named: dict[str | None, bool] = {}  # hosts, remembered
        for entry in entries:
            self._add(entry.strip())
        self._some = any((self._exact, self._globs, self._hosts, self._prefixes, self._methods))

    def excluded(self, method: str, path: str, query: str | None = None, host: str | None = None) -> bool:
        """Whether this request is left out."""
        if not self._some:
            return False
        if self._hosts and self._host_excluded(host):
            return True
        if path[:1] != "/" or path[:2] == "//":
            path = _origin_form(path)
        return path in self._exact or self._begins(path, query) or self._found(method, path)

    def _add(self, entry: str) -> None:
        method = _METHOD.fullmatch(entry)
        if entry[:5].lower() == "host:":
            self._hosts.append(Wildcard(entry[5:].strip()))
        elif method:
            self._add_path(method[1].upper(), method[2])
        elif entry:
            self._add_path("", entry)

    def _add_path(self, method: str, path: str) -> None:
        if "*" in path or (path[0] == "/" and "?" in path):
            self._globs.append((method, Wildcard("/" + path.lstrip("/"))))
        elif method:
            self._methods.add((method, "/" + path.lstrip("/")))
        elif path[0] == "/":
            self._exact.add("/" + path.lstrip("/"))
        else:
            self._prefixes += (path,)

    def _begins(self, path: str, query: str | None) -> bool:
        if not self._prefixes:
            return False
        return (f"{path}?{query}" if query else path).startswith(self._prefixes, 1)

    def _host_excluded(self, host: str | None) -> bool:
        known = self._named.get(host)
        if known is None:
            name = clean_host(host)
            known = any(pattern.matches(name) for pattern in self._hosts)
            if len(host or "") <= LONGEST_HOST:
                _remember(self._named, host, known)
        return known

    def _found(self, method: str, path: str) -> bool:
        if not self._globs and not self._methods:
            return False
        known = self._paths.get((method, path))
        if known is None:
            known = self._search(method.upper(), path)
            if len(path) <= LONGEST_PATH:
                _remember(self._paths, (method, path), known)
        return known

    def _search(self, method: str, path: str) -> bool:
        return (method, path) in self._methods or any(
            asked in ("", method) and pattern.matches(path) for asked, pattern in self._globs
        )

    def __repr__(self) -> str:
        paths = len(self._exact) + len(self._methods) + len(self._globs) + len(self._prefixes)
        return f"<Excluder {paths} paths · {len(self._hosts)} hosts>"


def _remember(memory: dict[Key, bool], key: Key, value: bool) -> None:
    if len(memory) >= MOST_REMEMBERED:
        memory.clear()
    memory[key] = value


def _origin_form(path: str) -> str:
    """A target as a path with one leading slash, whatever stands before it."""
    return "/" + _ABSOLUTE.sub("", path, count=1).lstrip("/")
