"""A request as a segment. What X-Ray has no field for stands in its metadata, under `server_tracing`."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from typing import Any

from msgspec import Raw, Struct

from server_tracing import __version__
from server_tracing.record import Request, WorkerVitals

from . import causes, flags, limits
from .documents import Http, HttpRequest, HttpResponse, Segment, encode
from .limits import cut
from .surroundings import NOWHERE, Surroundings

OURS = "server_tracing"  # the namespace of what we have to say
MOST_REMEMBERED = 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Details(Struct, omit_defaults=True, gc=False):
    """What we know of a request and X-Ray has no field for."""

    route: str | None = None
    name: str | None = None
    outcome: str | None = None  # but for "ok"; msgspec omits what *is* the default, not what equals it
    reason: str | None = None
    ttfb_ms: float | None = None
    queue_ms: float | None = None
    cpu_ms: float | None = None
    request_bytes: int | None = None
    http_version: str | None = None
    forwarded: str | None = None
    server: str | None = None
    worker_pid: int = 0
    worker_class: str | None = None
    kept_because: str | None = None
    sample_rate: float | None = None
    stack: str | None = None
    close_code: int | None = None
    messages_in: int | None = None
    messages_out: int | None = None
    event_stream: bool = False
    headers: dict[str, str] = {}
    spans_dropped: int = 0
    vitals: WorkerVitals | None = None
    annotations: dict[str, limits.Scalar] = {}  # beyond those that X-Ray indexes
    said: dict[str, Any] = {}  # under this namespace, while it ran
    rule: str | None = None  # of a file: X-Ray's field is for those of the console
    trimmed: list[str] = []  # what the document had no room for


def epoch(moment: datetime) -> float:
    """Seconds since 1970, as X-Ray counts."""
    return (moment - _EPOCH).total_seconds()


def trace_id(request: Request) -> str:
    """The trace a request belongs to, as X-Ray writes it."""
    return f"1-{request.trace_id[:8]}-{request.trace_id[8:]}"


class Segments:
    """Makes segments; what is the same in all of them is made once."""

    def __init__(self, version: str = "", surroundings: Surroundings = NOWHERE) -> None:
        runtime = {
            "runtime": platform.python_implementation(),
            "runtime_version": platform.python_version(),
        }
        self._service = Raw(encode({"version": version[: limits.TEXT], **runtime} if version else runtime))
        self.directory = _working_directory()
        self._names: dict[str, str] = {}
        self._aws: dict[str | None, Raw] = {}
        self.surroundings = surroundings

    @property
    def surroundings(self) -> Surroundings:
        """Where all of this runs."""
        return self._surroundings

    @surroundings.setter
    def surroundings(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._aws.clear()

    def segment(self, request: Request) -> Segment:
        """The segment of a request, without its subsegments."""
        start = epoch(request.start)
        central = request.rule if request.central else None
        running = request.outcome == "running"
        segment = Segment(
            id=request.span_id,
            name=self._names.get(request.service) or self._name(request.service),
            start_time=start,
            end_time=None if running else start + request.duration_ms / 1000,
            in_progress=running,
            parent_id=request.parent_id,
            metadata={OURS: _details(request)},
            trace_id=trace_id(request),
            http=_http(request),
            origin=self._surroundings.origin,
            aws=self._aws.get(central) or self._aws_block(central),
            service=self._service,
        )
        if request.outcome != "ok" or (request.status or 0) >= 400 or request.exception is not None:
            self._judge(segment, request)
        if request.annotations or request.metadata or request.user:
            _say(segment, request)
        return segment

    def _judge(self, segment: Segment, request: Request) -> None:
        """Whose fault it was, and why. A response that broke off or never came is ours in any case."""
        flags.apply(segment, request.status)
        broke_off = request.outcome == "error" and not segment.error
        segment.fault = segment.fault or broke_off or request.outcome == "killed"
        if request.outcome == "killed":
            segment.cause = causes.of_death(request, self.directory)
        elif request.exception is not None:
            segment.cause = causes.of_exception(request.exception, request.span_id, self.directory)
        elif request.outcome == "rejected":
            segment.cause = causes.of_refusal(request, self.directory)

    def _name(self, service: str) -> str:
        if len(self._names) >= MOST_REMEMBERED:
            self._names.clear()
        return self._names.setdefault(service, limits.name(service))

    def _aws_block(self, rule: str | None) -> Raw:
        """Where it runs, by whom it was recorded, and by which of the console's rules it is here."""
        if len(self._aws) >= MOST_REMEMBERED:
            self._aws.clear()
        told: dict[str, Any] = {
            "sdk": "server-tracing",
            "sdk_version": __version__,
            "auto_instrumentation": True,
        }
        if rule is not None:
            told["sampling_rule_name"] = cut(rule)
        return self._aws.setdefault(rule, Raw(encode({**self._surroundings.aws, "xray": told})))

    def __repr__(self) -> str:
        return f"<Segments of {len(self._names)} services · {self._surroundings!r}>"


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # deleted under us
        return ""


def _http(request: Request) -> Http:
    status, length = request.status, request.response_bytes
    return Http(
        HttpRequest(
            cut(request.method),
            _url(request),
            cut(request.user_agent),
            cut(request.client_ip),
            request.forwarded is not None,
        ),
        None if status is None and length is None else HttpResponse(status, length),
    )


def _url(request: Request) -> str:
    url = f"{request.scheme or 'http'}://{request.host or ''}{request.path or ''}"
    if request.query:
        url = f"{url}?{request.query}"
    return url if len(url) <= limits.TEXT else url[: limits.TEXT]


def _say(segment: Segment, request: Request) -> None:
    """What the application said of it."""
    details = segment.metadata[OURS]
    segment.annotations, details.annotations = limits.annotated(request.annotations)
    segment.user = cut(request.user)
    metadata = limits.metadata(request.metadata)
    details.said = metadata.pop(OURS, {})
    segment.metadata = {**metadata, OURS: details}


def _details(request: Request) -> Details:
    return Details(
        request.route,
        request.name,
        None if request.outcome == "ok" else request.outcome,
        request.reason,
        request.ttfb_ms,
        request.queue_ms,
        request.cpu_ms,
        request.request_bytes,
        request.http_version,
        request.forwarded,
        request.server,
        request.worker_pid,
        request.worker_class,
        request.kept_because,
        None if request.sample_rate == 1.0 else request.sample_rate,
        request.stack,
        request.close_code,
        request.messages_in,
        request.messages_out,
        request.event_stream,
        request.headers,
        request.spans_dropped,
        request.vitals,
        rule=None if request.central else request.rule,
    )
