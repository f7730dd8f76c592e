"""`server-tracing trace ID`: everything known of one trace, for somebody who asks what happened there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from textwrap import wrap

import msgspec

from server_tracing.record import ExceptionInfo, Request

from . import lines, waterfall
from .human import ago, duration, full_time, plural, size, visible
from .requests import result, target
from .screen import Screen

LABEL = 10  # columns of the names on the left
UNBOUNDED = 10_000  # columns of a line in a pipe


def show(screen: Screen, requests: Sequence[Request], *, as_json: bool, now: datetime) -> None:
    """The requests of one trace, the first one first."""
    ordered = sorted(requests, key=lambda request: request.start)
    if as_json:
        for request in ordered:
            lines.write(screen, lines.request_fields(request))
    else:
        _show(screen, ordered, now)
    screen.flush()


def _show(screen: Screen, requests: Sequence[Request], now: datetime) -> None:
    _identity(screen, requests)
    screen.line()
    waterfall.draw(screen, requests)
    for request in requests:
        screen.line()
        _request(screen, request, now)


def _identity(screen: Screen, requests: Sequence[Request]) -> None:
    trace = requests[0].trace_id
    screen.line(screen.style(f"Trace {trace}", "bold"))
    several = f" · {plural(len(requests), 'request')}" if len(requests) > 1 else ""
    screen.line(screen.style(f"X-Ray 1-{trace[:8]}-{trace[8:]}{several}", "dim"))


def _request(screen: Screen, request: Request, now: datetime) -> None:
    outcome = result(request)
    screen.line(f"{screen.style(target(request), 'bold')}  {screen.style(outcome.text, *outcome.styles)}")
    for name, value in _facts(request, now):
        if value:
            _fact(screen, name, value)
    if request.exception:
        _section(screen, "Exception")
        _exception(screen, request.exception)
    if request.stack:
        _section(screen, "Where it was when it had been running for too long")
        screen.block(request.stack)
    for title, values in _said(request):
        _section(screen, title)
        _values(screen, values)


def _fact(screen: Screen, name: str, value: str) -> None:
    room = (screen.width or UNBOUNDED) - LABEL - 2
    first, *more = wrap(value, room, break_on_hyphens=False) or [""]
    screen.line(f"  {screen.style(f'{name:<{LABEL}}', 'dim')}{first}")
    for line in more:
        screen.line(" " * (LABEL + 2) + line)


def _facts(request: Request, now: datetime) -> Iterator[tuple[str, str]]:
    yield "when", f"{full_time(request.start)}, {ago(request.start, now)}"
    yield "took", _join(_timing(request))
    yield "why", visible(request.reason or "")
    yield "service", _join([visible(request.service), visible(request.name or "")])
    yield "route", visible(request.route or "")
    yield "host", visible(request.host or "")
    yield "client", _join(_client(request))
    yield "agent", visible(request.user_agent or "")
    yield "bytes", _join(_traffic(request))
    yield "worker", _join([f"pid {request.worker_pid}", request.server or "", request.worker_class or ""])
    yield "then", _vitals(request)
    yield "span", request.span_id + (f", called by {visible(request.parent_id)}" if request.parent_id else "")
    yield "kept", _kept(request)


def _timing(request: Request) -> Iterator[str]:
    running = request.outcome == "running"
    yield duration(request.duration_ms) + (" so far" if running else "")
    if request.ttfb_ms is not None:
        yield f"first byte after {duration(request.ttfb_ms)}"
    if request.queue_ms is not None:
        yield f"waited {duration(request.queue_ms)} before that"
    if request.cpu_ms is not None:
        yield f"{duration(request.cpu_ms)} of CPU"


def _client(request: Request) -> Iterator[str]:
    yield visible(request.client_ip or "") + (
        f" by {visible(request.forwarded)}" if request.forwarded else ""
    )
    yield f"user {visible(request.user)}" if request.user else ""


def _traffic(request: Request) -> Iterator[str]:
    if request.request_bytes is not None:
        yield f"{size(request.request_bytes)} in"
    if request.response_bytes is not None:
        yield f"{size(request.response_bytes)} out"
    if request.messages_in is not None or request.messages_out is not None:
        yield f"messages {request.messages_in or 0} in, {request.messages_out or 0} out"
    if request.close_code is not None:
        yield f"closed with {request.close_code}"


def _vitals(request: Request) -> str:
    """How the worker was shortly before it died."""
    vitals = request.vitals
    if vitals is None:
        return ""
    known = [
        "" if vitals.rss_bytes is None else f"{size(vitals.rss_bytes)} of memory",
        "" if vitals.cpu_percent is None else f"{vitals.cpu_percent:.0f} % CPU",
        f"{vitals.in_flight} in flight",
    ]
    return ", ".join(filter(None, known))


def _kept(request: Request) -> str:
    """Whether it leaves this machine, and what it stands for there."""
    if not request.sampled:
        return "no, not sampled"
    because = f", because of {visible(request.kept_because)}" if request.kept_because else ""
    weight = f", stands for {1 / request.sample_rate:.3g}" if 0 < request.sample_rate < 1 else ""
    return f"yes{because}{weight}"


def _said(request: Request) -> Iterator[tuple[str, Mapping[str, object]]]:
    """What the application and the request told."""
    if request.annotations:
        yield "Annotations", request.annotations
    for namespace, values in request.metadata.items():
        yield ("Metadata" if namespace == "default" else f"Metadata {visible(namespace)}"), values
    if request.headers:
        yield "Headers", request.headers
    for span in request.spans:
        if span.annotations or span.metadata:
            yield f"Span {visible(span.name)}", {**span.annotations, **span.metadata}
    if request.spans_dropped:
        yield "Spans", {"left out": request.spans_dropped}


def _exception(screen: Screen, exception: ExceptionInfo) -> None:
    while True:
        screen.block(exception.stack)
        what = f"{exception.type}: {exception.message}".removesuffix(": ")
        for text in what.splitlines():
            screen.line("  " + screen.style(visible(text), "red"))
        if exception.cause is None:
            return
        exception = exception.cause
        screen.line(screen.style("  caused by", "dim"))


def _section(screen: Screen, title: str) -> None:
    screen.line()
    screen.line("  " + screen.style(title, "bold"))


def _values(screen: Screen, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        screen.line(f"    {screen.style(visible(name), 'dim')} {visible(shown)}")


def _join(parts: Sequence[str] | Iterator[str]) -> str:
    return " · ".join(filter(None, parts))
