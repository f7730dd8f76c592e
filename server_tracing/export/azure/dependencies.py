"""What a span was: a call by HTTP, a statement to a database, a request to AWS, or a part of the work itself.

Spans come from our own API, from OpenTelemetry, OpenCensus and the X-Ray SDK, and each says it in its own
words: attributes of OpenTelemetry's conventions (old and new) and OpenCensus' older ones, or X-Ray's `http`,
`sql` and `aws` blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from server_tracing.naming.routeless import routeless_name
from server_tracing.record import FinishedSpan
from server_tracing.redact import Redactor

from . import properties
from .schema import CODE, DATA, ID, NAME, VERSION, RemoteDependencyData, cut, time_span

IN_PROCESS = "InProc"
WELL_KNOWN_PORTS = {"http": 80, "https": 443}
UNFINISHED = "unfinished"  # a property of spans that had not ended when their request had

# The service draws an icon for these; other databases go by their own names.
DATABASES = {
    **dict.fromkeys(("sql", "mssql", "microsoft.sql_server", "dbapi", "sqlalchemy", "pyodbc"), "SQL"),
    "postgres": "postgresql",
    "mariadb": "mysql",
}
QUERY = ".query"  # OpenCensus' spans: `postgresql.query`, with the statement under the same name
# What is said elsewhere in the item, and need not be a property as well.
TOLD = ("http.", "url.", "db.statement", "db.query.text")
TOLD_BLOCKS = ("http", "sql", "namespace", "flags")


class Call(NamedTuple):
    """The part of a dependency that depends on what kind it is."""

    name: str
    type: str
    target: str = ""
    data: str = ""
    code: str = ""
    failed: bool = False


class Dependencies:
    """Makes dependencies of spans; URLs in them are redacted as those of requests are."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def of(self, span: FinishedSpan, until_ms: float) -> RemoteDependencyData:
        """The dependency that a span is; one without an end lasted `until_ms`, when its request ended."""
        call = self._call(span)
        finished = span.duration_ms is not None
        failed = call.failed or span.exception is not None or bool(span.metadata.get("flags")) or not finished
        return RemoteDependencyData(
            VERSION,
            cut(span.span_id, ID),
            cut(call.name, NAME) or IN_PROCESS,
            time_span(until_ms if span.duration_ms is None else span.duration_ms),
            not failed,
            cut(call.code or _code(span), CODE),
            cut(call.type, NAME),
            cut(call.target, NAME),
            cut(call.data, DATA),
            _properties(span),
        )

    def _call(self, span: FinishedSpan) -> Call:
        said, blocks = span.annotations, span.metadata
        if (
            isinstance(blocks.get("sql"), Mapping)
            or _first(said, "db.system", "db.system.name", "db.type")
            or (span.name.endswith(QUERY) and span.name in said)
        ):
            return _database(span)
        if isinstance(blocks.get("aws"), Mapping) and blocks.get("namespace") == "aws":
            return _aws(span)
        if isinstance(blocks.get("http"), Mapping) or _first(said, "http.url", "url.full", "http.method"):
            return self._http(span)
        system = _first(said, "messaging.system", "rpc.system")
        if system:
            target = _first(said, "messaging.destination", "messaging.destination.name", "rpc.service")
            return Call(span.name, system, target)
        if span.kind == "client" or blocks.get("namespace") == "remote":
            return Call(span.name, _first(said, "component") or "Other", _host(span) or span.name)
        return Call(span.name, IN_PROCESS)

    def _http(self, span: FinishedSpan) -> Call:
        asked, answered = _block(span, "http", "request"), _block(span, "http", "response")
        said = span.annotations
        url = str(asked.get("url") or _first(said, "http.url", "url.full"))
        method = str(asked.get("method") or _first(said, "http.method", "http.request.method"))
        status = str(answered.get("status") or _first(said, "http.status_code", "http.response.status_code"))
        if span.kind not in ("client", "remote") and not asked:
            return Call(span.name, IN_PROCESS, code=status)  # served within the process, such as by a mount
        target, path, shown = self._address(url)
        return Call(
            f"{method} {path}" if method and path else span.name,
            "HTTP",
            target or _host(span),
            shown,
            status,
            failed=_failed(status),
        )

    def _address(self, url: str) -> tuple[str, str, str]:
        """Host, path as a name, and what may be shown of a URL: no credentials, no secrets in its query."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return "", "", ""
        netloc = f"[{host}]" if ":" in host else host
        if port and port != WELL_KNOWN_PORTS.get(parts.scheme):
            netloc = f"{netloc}:{port}"
        query = self._redactor.query(parts.query) if parts.query else None
        shown = f"{parts.scheme}://{netloc}{parts.path}" if host else parts.path
        return netloc, routeless_name(parts.path or "/"), f"{shown}?{query}" if query else shown


def _database(span: FinishedSpan) -> Call:
    said, block = span.annotations, _block(span, "sql")
    system = str(block.get("database_type") or _first(said, "db.system", "db.system.name", "db.type"))
    if system.lower() in ("", "sql") and span.name.endswith(QUERY):
        system = span.name.removesuffix(QUERY)
    kind = DATABASES.get(system.lower(), system.lower())
    host, port, url_path = _database_address(str(block.get("url") or ""))
    host = host or _host(span)
    database = _first(said, "db.name", "db.namespace", "db.instance") or url_path
    written = block.get("sanitized_query") or _first(said, "db.statement", "db.query.text", span.name)
    where = f"{host}:{port}" if port else host
    return Call(span.name, kind or "SQL", " | ".join(filter(None, (where, database))), str(written))


def _database_address(url: str) -> tuple[str, int | None, str]:
    """Of `postgresql://user@host:5432/shop`; who logged in is left out."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port, parts.path.strip("/")
    except ValueError:
        return "", None, ""


def _aws(span: FinishedSpan) -> Call:
    block = _block(span, "aws")
    status = str(_block(span, "http", "response").get("status") or "")
    resource = next((str(block[k]) for k in ("table_name", "queue_url", "bucket_name") if block.get(k)), "")
    region = str(block.get("region") or "")
    operation = str(block.get("operation") or "")
    return Call(
        f"{span.name} {operation}".strip(),
        f"AWS {span.name}",
        resource or ".".join(filter(None, (span.name, region))),
        operation,
        status,
        failed=_failed(status),
    )


def _failed(status: str) -> bool:
    return status != "" and not (status.isdecimal() and int(status) < 400)


def _block(span: FinishedSpan, name: str, inner: str = "") -> Mapping[str, Any]:
    block: Any = span.metadata.get(name)
    if inner and isinstance(block, Mapping):
        block = block.get(inner)
    return block if isinstance(block, Mapping) else {}


def _host(span: FinishedSpan) -> str:
    said = span.annotations
    host = _first(said, "server.address", "net.peer.name", "http.host", "net.peer.ip", "peer.hostname")
    port = _first(said, "server.port", "net.peer.port")
    if ":" in host or not port.isdecimal() or int(port) in WELL_KNOWN_PORTS.values():
        return host
    return f"{host}:{port}"


def _first(said: Mapping[str, Any], *names: str) -> str:
    """The first of these that is said."""
    return next((str(said[name]) for name in names if said.get(name) not in (None, "")), "")


def _code(span: FinishedSpan) -> str:
    """Where there is no status: 0, or what went wrong."""
    if span.exception is not None:
        return span.exception.type or "error"
    return "0" if span.duration_ms is not None else UNFINISHED


def _properties(span: FinishedSpan) -> dict[str, str]:
    told: dict[str, str] = {} if span.duration_ms is not None else {UNFINISHED: "true"}
    if span.annotations:
        kept = {
            key: value
            for key, value in span.annotations.items()
            if not key.startswith(TOLD) and not (key == span.name and key.endswith(QUERY))
        }
        properties.add(told, kept)
    if span.metadata:
        properties.add(told, {key: span.metadata[key] for key in span.metadata if key not in TOLD_BLOCKS})
    return told
