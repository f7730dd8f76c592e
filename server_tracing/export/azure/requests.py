"""What is said of a request."""

from __future__ import annotations

from server_tracing.record import Request

from . import properties
from .schema import (
    SOURCE,
    URL,
    VERSION,
    Measurements,
    RequestData,
    cut,
    time_span,
)

CLIENT_LEFT = "499"  # nginx's number for a client that left before there was an answer

# What a request has beyond the plain ones, under these names.
_MORE = ("reason", "kept_because", "rule", "forwarded", "close_code", "tracestate", "stack")


class Requests:
    """Makes RequestData; `success_4xx` says whether a request that was answered with 4xx succeeded."""

    def __init__(self, success_4xx: bool) -> None:
        self._failed_from = 500 if success_4xx else 400

    def data(self, request: Request, name: str) -> RequestData:
        """The data of a request whose operation is called `name`."""
        url = _url(request)
        return RequestData(
            VERSION,
            request.span_id,
            name,
            time_span(request.duration_ms),
            self._code(request),
            self._success(request),
            url,
            _source(request) if "request-context" in request.headers else request.client_ip,
            self._properties(request, name, url),
            _measurements(request),
        )

    def _code(self, request: Request) -> str:
        """The status; where there was none, what became of the request."""
        if request.status is not None:
            return str(request.status)
        return CLIENT_LEFT if request.outcome == "disconnected" else request.outcome

    def _success(self, request: Request) -> bool:
        if request.outcome == "ok" or request.outcome == "disconnected":
            return (request.status or int(CLIENT_LEFT)) < self._failed_from
        return False

    def _properties(self, request: Request, name: str, url: str | None) -> dict[str, str]:
        told = {"request.name": name, "worker": f"{request.worker_class} {request.worker_pid}"}
        if url is not None:
            told["request.url"] = url
        if request.outcome != "ok":
            told["outcome"] = request.outcome
        if request.exception is not None:
            told["error.name"] = properties.text(request.exception.type)
            told["error.message"] = properties.text(request.exception.message)
        for field in _MORE:
            value = getattr(request, field)
            if value is not None:
                told[field] = properties.text(value)
        if request.annotations or request.metadata or request.headers or request.spans_dropped:
            _say_more(told, request)
        return told


def _say_more(told: dict[str, str], request: Request) -> None:
    """What the application and its settings add."""
    properties.add(told, request.annotations)
    for namespace, values in request.metadata.items():
        properties.add(told, values, "" if namespace == "default" else f"{namespace}.")
    properties.add(told, request.headers, "http.header.")
    if request.spans_dropped:
        told["spans_dropped"] = str(request.spans_dropped)


def _url(request: Request) -> str | None:
    if request.path is None:
        return None
    target = f"{request.path}?{request.query}" if request.query else request.path
    return cut(f"{request.scheme}://{request.host}{target}" if request.host else target, URL)


def _source(request: Request) -> str | None:
    """Which Application Insights resource the caller reports to, as its SDK says; else its address."""
    parts = (part.strip() for part in request.headers["request-context"].split(","))
    told = next((part.removeprefix("appId=") for part in parts if part.startswith("appId=")), "")
    return cut(told, SOURCE) or request.client_ip


def _measurements(request: Request) -> Measurements:
    vitals = request.vitals
    if vitals is None:
        return Measurements(
            request.ttfb_ms,
            request.queue_ms,
            request.cpu_ms,
            request.request_bytes,
            request.response_bytes,
            request.messages_in,
            request.messages_out,
        )
    return Measurements(
        request.ttfb_ms, request.queue_ms, request.cpu_ms, request.request_bytes, request.response_bytes,
        request.messages_in, request.messages_out, vitals.rss_bytes, vitals.cpu_percent,
    )  # fmt: skip
