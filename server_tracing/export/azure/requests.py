"""What is said of a request.

This and envelopes.py are passed by every request that is delivered: the usual case comes first in them, and
what can be the same text for many requests is.
"""

from __future__ import annotations

from server_tracing.record import Request

from . import properties
from .schema import ADDRESS, SOURCE, URL, VERSION, Measurements, RequestData, cut, time_span

CLIENT_LEFT = "499"  # nginx's number for a client that left before there was an answer
MOST_WORKERS = 1000  # remembered: those whose journals were adopted, too

_CODES = {status: str(status) for status in range(100, 600)}


class Requests:
    """Makes RequestData; `success_4xx` says whether a request that was answered with 4xx succeeded."""

    def __init__(self, success_4xx: bool) -> None:
        self._failed_from = 500 if success_4xx else 400
        self._workers: dict[int, str] = {}

    def data(self, request: Request, name: str) -> RequestData:
        """The data of a request whose operation is called `name`."""
        ok, status = request.outcome == "ok", request.status
        told = {"worker": self._worker(request)}
        if not ok or request.kept_because != "rate" or request.stack is not None or request.close_code:
            self._explain(told, request)
        if request.annotations or request.metadata or request.headers or request.tracestate is not None:
            _say_more(told, request)
        return RequestData(
            VERSION,
            request.span_id,
            name,
            time_span(request.duration_ms),
            (_CODES.get(status) or str(status)) if status is not None else _without_status(request),
            status < self._failed_from if ok and status is not None else self._succeeded(request),
            _url(request),
            _source(request) if "request-context" in request.headers else address(request),
            told,
            _measurements(request),
        )

    def _succeeded(self, request: Request) -> bool:
        """What was answered, or left by its client, is judged by its status; all else has failed."""
        if request.outcome not in ("ok", "disconnected"):
            return False
        return (request.status or int(CLIENT_LEFT)) < self._failed_from

    def _worker(self, request: Request) -> str:
        known = self._workers.get(request.worker_pid)
        if known is None:
            if len(self._workers) >= MOST_WORKERS:
                self._workers.clear()
            known = f"{request.worker_class or ''} {request.worker_pid}".strip()
            self._workers[request.worker_pid] = known
        return known

    def _explain(self, told: dict[str, str], request: Request) -> None:
        """What became of it, and why it is shown, where that is not the usual."""
        if request.outcome != "ok":
            told["outcome"] = request.outcome
        if request.exception is not None:
            told["error.name"] = properties.text(request.exception.type)
            told["error.message"] = properties.text(request.exception.message)
        for field in ("reason", "kept_because", "rule", "stack", "close_code"):
            value = getattr(request, field)
            if value is not None:
                told[field] = properties.text(value)
        if request.spans_dropped:
            told["spans_dropped"] = str(request.spans_dropped)


def address(request: Request) -> str | None:
    """Of the client, if it is one."""
    told = request.client_ip
    return told if told is None or len(told) <= ADDRESS else None


def _without_status(request: Request) -> str:
    """What became of the request."""
    return CLIENT_LEFT if request.outcome == "disconnected" else request.outcome


def _say_more(told: dict[str, str], request: Request) -> None:
    """What the application, its callers and its settings add."""
    properties.add(told, request.annotations)
    for namespace, values in request.metadata.items():
        properties.add(told, values, "" if namespace == "default" else f"{namespace}.")
    properties.add(told, request.headers, "http.header.")
    if request.tracestate is not None:
        told["tracestate"] = properties.text(request.tracestate)


def _url(request: Request) -> str | None:
    path, query, host = request.path, request.query, request.host
    if path is None:
        return None
    if host is not None:
        path = f"{request.scheme}://{host}{path}"
    if query:
        path = f"{path}?{query}"
    return path if len(path) <= URL // 2 else cut(path, URL)


def _source(request: Request) -> str | None:
    """Which Application Insights resource the caller reports to, as its SDK says; else its address."""
    parts = (part.strip() for part in request.headers["request-context"].split(","))
    told = next((part.removeprefix("appId=") for part in parts if part.startswith("appId=")), "")
    return cut(told, SOURCE) or address(request)


def _measurements(request: Request) -> Measurements:
    measured = Measurements(
        request.ttfb_ms,
        request.queue_ms,
        request.cpu_ms,
        request.request_bytes,
        request.response_bytes,
        request.messages_in,
        request.messages_out,
    )
    if request.vitals is not None:
        measured.worker_rss_bytes = request.vitals.rss_bytes
        measured.worker_cpu_percent = request.vitals.cpu_percent
    return measured
