"""Calls to somebody else: what X-Ray draws as a node needs a namespace, and blocks in its own terms.

Whoever records such a call may give them ready-made (record.FinishedSpan); of spans that OpenTelemetry's
instrumentations told of they are read from its semantic conventions, the old names and the new.
https://opentelemetry.io/docs/specs/semconv/http/http-spans/ and .../database/database-spans/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from server_tracing.record import FinishedSpan

from .limits import DOCUMENT, TEXT, texts_cut

REMOTE, AWS = "remote", "aws"
_GIVEN = ("namespace", "http", "sql", "aws")
_ASKED = ("method", "url", "user_agent", "client_ip")
_ABOUT_SQL = ("database_type", "database_version", "driver_version", "user", "preparation")
_ABOUT_AWS = ("operation", "account_id", "region", "request_id", "queue_url", "table_name")
_CLIENTS = ("client", "producer")

_METHOD = ("http.request.method", "http.method")
_URL = ("url.full", "http.url")
_STATUS = ("http.response.status_code", "http.status_code")
_LENGTH = ("http.response.body.size", "http.response_content_length")
_SYSTEM = ("db.system.name", "db.system")
_QUERY = ("db.query.text", "db.statement")
_DATABASE = ("db.namespace", "db.name")
_PEER = ("peer.service", "server.address", "net.peer.name", "net.peer.ip")
_REQUEST = ("aws.request_id", "aws.requestId")


class Call(Struct, gc=False):
    """What a subsegment says of a call; a name where X-Ray wants another than the span's."""

    namespace: str | None = None
    http: dict[str, Any] = {}
    sql: dict[str, Any] = {}
    aws: dict[str, Any] = {}
    name: str | None = None


NONE = Call()


def call_of(span: FinishedSpan) -> Call:
    """The call that a span stands for, if any."""
    if not span.metadata.keys().isdisjoint(_GIVEN):
        return _given(span.metadata)
    return _told(span.annotations) if span.kind in _CLIENTS else NONE


def _given(metadata: Mapping[str, Any]) -> Call:
    """Blocks as they were given, each field of the type it must have: X-Ray refuses a document for one."""
    namespace = metadata.get("namespace")
    http, sql, aws = _block(metadata, "http"), _block(metadata, "sql"), _block(metadata, "aws")
    request = _texts(_block(http, "request"), _ASKED)
    if _block(http, "request").get("traced") is True:
        request["traced"] = True
    response = _numbers(_block(http, "response"), {"status": 0, "content_length": -1})
    return Call(
        namespace if namespace in (REMOTE, AWS) else None,
        {part: told for part, told in (("request", request), ("response", response)) if told},
        _texts(sql, _ABOUT_SQL) | _texts(sql, ("url", "connection_string", "sanitized_query"), DOCUMENT),
        {name: told for name, told in aws.items() if told is not None and name not in _ABOUT_AWS}
        | _texts(aws, _ABOUT_AWS),
    )


def _block(metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    block = metadata.get(name)
    return block if isinstance(block, Mapping) else {}


def _texts(block: Mapping[str, Any], names: tuple[str, ...], longest: int = TEXT) -> dict[str, Any]:
    return {
        name: str(value)[:longest]
        for name in names
        if isinstance(value := block.get(name), (str, int, float))
    }


def _numbers(block: Mapping[str, Any], least: Mapping[str, int]) -> dict[str, Any]:
    found = {name: block.get(name) for name in least}
    return {name: number for name, number in found.items() if type(number) is int and number >= least[name]}


# ---------------------------------------------------------------- by OpenTelemetry's names


def _told(said: Mapping[str, Any]) -> Call:
    peer = _text(said, _PEER)
    if said.get("rpc.system") in ("aws-api", "aws"):
        return Call(AWS, _http(said), aws=_aws(said), name=_text(said, ("rpc.service",)))
    system = _text(said, _SYSTEM)
    if system:
        database = _text(said, _DATABASE)
        name = f"{database}@{peer}" if database and peer else database or peer
        return Call(REMOTE, sql=_sql(said, system), name=name)
    url = _text(said, _URL)
    return Call(REMOTE, _http(said), name=peer or _host(url))


def _http(said: Mapping[str, Any]) -> dict[str, Any]:
    request = {"method": _text(said, _METHOD), "url": _bare(_text(said, _URL))}
    response = {"status": _number(said, _STATUS), "content_length": _number(said, _LENGTH)}
    parts = {"request": texts_cut(_known(request)), "response": _known(response)}
    return {name: part for name, part in parts.items() if part}


def _sql(said: Mapping[str, Any], system: str) -> dict[str, Any]:
    told = {
        "database_type": system,
        "sanitized_query": _text(said, _QUERY),
        "user": _text(said, ("db.user",)),
    }
    return _known(told)


def _aws(said: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        "operation": _text(said, ("rpc.method",)),
        "region": _text(said, ("cloud.region", "aws.region")),
        "request_id": _text(said, _REQUEST),
    }
    return _known(told)


def _known(block: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if value is not None}


def _text(said: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    found = next((said[name] for name in names if said.get(name)), None)
    return found if isinstance(found, str) else None


def _number(said: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = next((said[name] for name in names if name in said), None)
    return found if type(found) is int else None


def _bare(url: str | None) -> str | None:
    """An address without what may be secret: no query, no credentials. The SDK leaves out the query, too."""
    if url is None:
        return None
    scheme, sign, rest = url.partition("?")[0].partition("#")[0].partition("://")
    if not sign:
        return scheme
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _host(url: str | None) -> str | None:
    authority = (_bare(url) or "").partition("://")[2].partition("/")[0]
    return authority.partition(":")[0] if not authority.startswith("[") else authority
