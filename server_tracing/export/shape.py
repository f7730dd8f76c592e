"""From what the frames say to what people read: one joined request becomes one `Request`.

Here everything happens that the request itself did not wait for: ids, wall times, the caller's context, the
client's address, redaction, names. Pure, but for the source lines of a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar, cast

from msgspec import convert

from server_tracing import identity
from server_tracing.config import Config
from server_tracing.forwarding import Trusted, client, queue_time
from server_tracing.naming import Excluder, Namer
from server_tracing.propagation import NAMES as CONTEXT_NAMES
from server_tracing.propagation import believed, extract
from server_tracing.record import (
    Begin,
    End,
    Event,
    Fault,
    FinishedSpan,
    Mark,
    Note,
    Origin,
    Outcome,
    Request,
    Span,
    Vitals,
    WorkerVitals,
)
from server_tracing.redact import Redactor
from server_tracing.texts import Headers, split_target, text, text_headers

from .routes import Routes
from .stuck.stacks import exception_info, stack_text
from .trail import NOTES_DROPPED, Trail

Told = TypeVar("Told")
Number = TypeVar("Number", int, float)
_WEBSOCKET = ("ws", "wss")
_URLS = frozenset(("http.url", "url.full", "url"))  # in what spans say of calls
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_OUTCOMES = {int(outcome): outcome.name.lower() for outcome in Outcome}
_QUEUED = frozenset({"x-request-start", "x-queue-start"})
_TELLING = CONTEXT_NAMES | _QUEUED  # only of senders that are believed


class Shaper:
    """Shapes what one worker left; `origin` says how to read its stamps and which ids its requests have."""

    def __init__(
        self,
        config: Config,
        origin: Origin,
        trusted_proxies: Sequence[str] = (),
        routes: Routes | None = None,
    ) -> None:
        proxies = config.capture.trusted_proxies
        self._trusted = Trusted(trusted_proxies if proxies is None else proxies)
        self._routes = routes or Routes(derive=config.capture.derive_routes)
        self._origin = origin
        self._offset = origin.wall - origin.monotonic
        self._second, self._whole = 0, _EPOCH  # the wall time's second that was asked for last
        self._propagation = config.propagation
        self._trust_context = config.trust_context
        self._redactor = Redactor(config.capture)
        self._service = Namer(config, origin.service).service
        self._ids = identity.hexadecimal(origin)
        self._excluder = Excluder(config.exclude)
        self._blank: Callable[[], Request] = _blank(origin).__copy__  # type: ignore[attr-defined]
        self.vitals_seen: WorkerVitals | None = None  # the last, for requests that died with their worker

    def set_clock(self, by: int) -> None:
        """The wall clock was set by so many nanoseconds in all: stamps are read by the new time now."""
        self._offset = self._origin.wall - self._origin.monotonic + by

    def when(self, stamp: int) -> datetime:
        """The wall time of a stamp of this worker's monotonic clock."""
        seconds, nanoseconds = divmod(stamp + self._offset, 1_000_000_000)
        if seconds != self._second:
            self._second, self._whole = seconds, _EPOCH + timedelta(0, seconds)
        return self._whole + timedelta(0, 0, nanoseconds // 1000)  # by position: a third of the time by name

    # ------------------------------------------------------------ a request

    def request(self, trail: Trail) -> Request | None:
        """The record of a trail that has its end; None where the settings exclude it.

        It is a copy of the worker's blank, filled in: 0.4 us where making it from twenty names takes 1.1.
        What a blank holds empty is the same object in all its copies, so it is replaced and never filled.
        """
        begin, end = trail.begin, trail.end
        assert end is not None
        headers = text_headers(begin.headers)
        named = dict(headers)
        host, path, query = split_target(text(begin.target), named.get("host"))
        if self._excluder.excluded(begin.method, path, query, host or ""):
            return None
        request = self._blank()
        request.host, request.path = host or None, self._redactor.path(path) or None
        if query:
            request.query = self._redactor.query(query)
        self._begun(request, begin, headers, named)
        _ended(request, end, trail)
        request.route = self._routes.route(
            end.route, begin.method, path, host or "", begin.scheme in _WEBSOCKET, request.status
        )
        if end.outcome != Outcome.OK or end.reason or trail.rich:
            self._explain(request, end, trail)
        return request

    def _begun(self, request: Request, begin: Begin[Any], headers: Headers, named: dict[str, str]) -> None:
        """Who asked for what, and when."""
        request.trace_id, request.span_id = self._ids(begin.number, begin.start)
        request.service = self._service(request.host)
        request.method = begin.method or None
        request.scheme = begin.scheme or None
        request.http_version = begin.version or None
        request.start = self.when(begin.start)
        peer_ip, request.forwarded = client(begin.client, headers, self._trusted)
        request.client_ip = peer_ip or None
        request.user_agent = self._said(named.get("user-agent"))
        if self._redactor.keeps_headers:
            kept = self._redactor.headers(headers)
            request.headers = {name: self._said(value) for name, value in kept.items()}
        if not _TELLING.isdisjoint(named):
            self._believe(request, begin, headers, named)

    def _believe(self, request: Request, begin: Begin[Any], headers: Headers, named: dict[str, str]) -> None:
        """What the sender says of the trace it belongs to and of the time it waited, if it is believed."""
        peer_trusted = self._trust_context != "always" and begin.client in self._trusted
        if not believed(self._trust_context, peer_trusted):
            return
        if not _QUEUED.isdisjoint(named):
            request.queue_ms = queue_time(headers, begin.start + self._offset)
        context = extract(headers, self._propagation)
        if context.trace_id is not None:
            request.trace_id = f"{context.trace_id:032x}"
            request.parent_id = f"{context.parent_id:016x}" if context.parent_id else None
            request.tracestate = context.tracestate
            request.xray_extra = context.xray_extra
        request.parent_sampled = context.sampled

    def _explain(self, request: Request, end: End, trail: Trail) -> None:
        """What went wrong, and what the application said."""
        if end.reason:
            request.reason = self._redactor.message(end.reason)
        if end.fault is not None:
            request.exception = exception_info(end.fault, self._redactor)
        if trail.stack is not None:
            request.stack = stack_text(trail.stack.frames)
        if trail.notes is not None:
            request.annotations, request.metadata = {}, {}
            for note in trail.notes.values():
                if note.what == "exception" and request.exception is None:
                    request.exception = exception_info(convert(note.value, Fault), self._redactor)
                else:
                    _note(request, note, self._said(note.value))
        if trail.notes_dropped:
            _note_dropped(request, trail.notes_dropped)
        if trail.spans is not None:
            request.spans = [self._span(request, span) for span in trail.spans.values()]
        request.spans_dropped += trail.spans_dropped
        if end.outcome == Outcome.KILLED:
            request.vitals = self.vitals_seen

    def _span(self, request: Request, span: Span) -> FinishedSpan:
        for said in (span.annotations, _asked(span.metadata)):
            for name in _URLS.intersection(said):
                if isinstance(said[name], str):
                    said[name] = self._redactor.url(str(said[name]))
        return FinishedSpan(
            span_id=f"{span.span_id:016x}",
            parent_id=f"{span.parent_id:016x}" if span.parent_id else request.span_id,
            name=self._said(span.name),
            kind=span.kind,
            start=self.when(span.start),
            duration_ms=max(0, span.stop - span.start) / 1e6 if span.stop else None,
            annotations={key: self._said(value) for key, value in span.annotations.items()},
            metadata={key: self._said(value) for key, value in span.metadata.items()},
            exception=None if span.fault is None else exception_info(span.fault, self._redactor),
        )

    def _said(self, value: Told) -> Told:
        """What somebody said, a client or the application, which may be an address: its query is redacted as
        ours. Of metadata, whatever is in it."""
        if isinstance(value, dict):
            return cast(Told, {key: self._said(inner) for key, inner in value.items()})
        if isinstance(value, list):
            return cast(Told, [self._said(inner) for inner in value])
        if isinstance(value, str) and ("://" in value or ("?" in value and "=" in value)):
            return cast(Told, self._redactor.message(value))
        return value

    # ------------------------------------------------------------ the worker itself

    def vitals(self, vitals: Vitals) -> WorkerVitals:
        """How the worker was; remembered for the requests it may die with."""
        self.vitals_seen = WorkerVitals(
            time=self.when(vitals.stamp),
            service=self._origin.service,
            worker_pid=self._origin.pid,
            worker_class=self._origin.worker_class,
            host=self._origin.host,
            rss_bytes=_known(vitals.rss),
            cpu_percent=_known(vitals.cpu),
            threads=_known(vitals.threads),
            open_files=_known(vitals.files),
            in_flight=vitals.in_flight,
            served=vitals.served,
            accept_queue=_known(vitals.accept_queue),
            machine_cpu_percent=_known(vitals.machine_cpu),
            available_bytes=_known(vitals.available),
            window_ms=vitals.window / 1e6,
            counts=vitals.counts if vitals.window else None,
        )
        return self.vitals_seen

    def event(self, mark: Mark) -> Event:
        """Something that happened to the worker."""
        return Event(
            time=self.when(mark.stamp),
            service=self._origin.service,
            worker_pid=self._origin.pid,
            what=mark.what,
            detail=self._redactor.message(mark.detail),
            worker_class=self._origin.worker_class,
            exception=None if mark.fault is None else exception_info(mark.fault, self._redactor),
        )

    def __repr__(self) -> str:
        return f"<Shaper of {self._origin.id} pid {self._origin.pid}>"


def _blank(origin: Origin) -> Request:
    """What the requests of one worker have in common."""
    return Request(
        trace_id="",
        span_id="",
        service="",
        outcome="",
        start=_EPOCH,
        duration_ms=0.0,
        server=origin.server or None,
        worker_pid=origin.pid,
        worker_class=origin.worker_class or None,
    )


def _ended(request: Request, end: End, trail: Trail) -> None:
    """What became of it."""
    start = trail.begin.start
    request.status = end.status or trail.status or None
    request.outcome = _OUTCOMES[end.outcome]
    if end.stop > start:
        request.duration_ms = (end.stop - start) / 1e6
    if first_byte := end.first_byte or trail.first_byte:
        request.ttfb_ms = max(0, first_byte - start) / 1e6
    if end.request_bytes >= 0:
        request.request_bytes = end.request_bytes
    if end.response_bytes >= 0:
        request.response_bytes = end.response_bytes
    if end.cpu >= 0:
        request.cpu_ms = end.cpu / 1e6
    if end.close_code >= 0 or end.messages_in >= 0 or end.messages_out >= 0 or end.event_stream:
        _conversation(request, end)


def _conversation(request: Request, end: End) -> None:
    """What only WebSockets and event streams have."""
    request.event_stream = end.event_stream
    request.close_code = _known(end.close_code)
    request.messages_in = _known(end.messages_in)
    request.messages_out = _known(end.messages_out)


def _asked(metadata: dict[str, Any]) -> dict[str, Any]:
    """What a span says of a call in X-Ray's terms."""
    http = metadata.get("http")
    asked = http.get("request") if isinstance(http, dict) else None
    return asked if isinstance(asked, dict) else {}


def _known(number: Number) -> Number | None:
    return None if number < 0 else number


def _note(request: Request, note: Note, value: object) -> None:
    if note.what == "annotation" and isinstance(value, (str, int, float)):
        request.annotations[note.key] = value
    elif note.what == "metadata":
        request.metadata.setdefault(note.namespace or "default", {})[note.key] = value
    elif note.what in ("user", "name", "route") and isinstance(value, str):
        setattr(request, note.what, value)
    elif note.what == "spans_dropped" and isinstance(value, int):
        request.spans_dropped = value


def _note_dropped(request: Request, count: int) -> None:
    """Beside those that the application's side let go."""
    ours = request.metadata.setdefault("server_tracing", {})
    known = ours.get(NOTES_DROPPED)
    ours[NOTES_DROPPED] = count + known if isinstance(known, int) else count
