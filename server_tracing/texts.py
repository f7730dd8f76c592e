"""Text from the wire: what servers hand out as latin-1 or bytes, as the UTF-8 it mostly is.

What is not UTF-8 stays visible as backslash escapes; nothing here raises, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable

from server_tracing.forwarding import NAMES as FORWARDING_NAMES
from server_tracing.propagation import NAMES as CONTEXT_NAMES

Headers = list[tuple[str, str]]

# The names that every server hands out, as WSGI and ASGI servers spell them: looked up, not converted.
_COMMON = (*CONTEXT_NAMES, *FORWARDING_NAMES, "host", "user-agent", "content-length", "content-type")
_NAMES: dict[str | bytes, str] = {
    **{name.upper(): name for name in _COMMON},
    **{name.encode(): name for name in _COMMON},
}


def text(value: str | bytes) -> str:
    """A target or header value, readable."""
    if value.isascii():
        return value if isinstance(value, str) else value.decode("ascii")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        return value.encode("latin-1").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # no server's latin-1, so it is text already
        return value.encode("utf-8", "backslashreplace").decode()


def text_headers(headers: Iterable[tuple[str | bytes, str | bytes]]) -> Headers:
    """Headers with lower-case names and readable values."""
    return [
        (
            _NAMES.get(name) or text(name).lower(),
            value if type(value) is str and value.isascii() else text(value),
        )
        for name, value in headers
    ]


def split_target(target: str, host: str | None) -> tuple[str | None, str, str]:
    """Host, path and query of a request target, which may also be `http://host/path`, `host:port` or `*`."""
    if not target.startswith("/") and "://" in target:
        authority, slash, rest = target.partition("://")[2].partition("/")
        host, target = authority.rpartition("@")[2] or host, slash + rest
    path, _, query = target.partition("?")
    return host, path, query
