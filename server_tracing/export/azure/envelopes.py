"""Envelopes of records: a request with its exceptions and dependencies, a worker's metrics and messages.

The first envelope of a request is the request itself; the others hang below it by its span id.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain

from msgspec import Raw, json

from server_tracing import __version__
from server_tracing.config import Config
from server_tracing.record import Event, ExceptionInfo, Record, Request, WorkerVitals
from server_tracing.redact import Redactor

from .dependencies import Dependencies
from .failures import exception_data, is_exception
from .messages import message_data
from .metrics import metrics
from .names import Names
from .requests import Requests, address
from .schema import AGENT, ID, INSTANCE, NAME, ROLE, USER, BaseData, Data, Envelope, Tags, cut

SMALLEST_RATE = 1e-6  # of a share: below that one item would stand for more than anybody serves


def raw(text: str) -> Raw:
    """Text that is the same in every item, encoded once."""
    return Raw(json.encode(text))


def _names(kind: str) -> tuple[Raw, Raw]:
    return raw(f"Microsoft.ApplicationInsights.{kind}"), raw(f"{kind}Data")


REQUEST = _names("Request")
DEPENDENCY = _names("RemoteDependency")
EXCEPTION = _names("Exception")
METRIC = _names("Metric")
MESSAGE = _names("Message")


class Envelopes:
    """Makes envelopes for one instrumentation key; `shift` is added to every time (see clock.py)."""

    def __init__(self, config: Config, key: str) -> None:
        self._key = raw(key)
        self._instance = raw(cut(platform.node(), INSTANCE))
        self._sdk = raw(f"server-tracing:{__version__}")
        self._version = raw(cut(config.azure.version, NAME)) if config.azure.version else None
        self._metrics = config.azure.metrics_interval > 0
        self._names = Names()
        self._requests = Requests(config.azure.success_4xx)
        self._dependencies = Dependencies(Redactor(config.capture))
        self.shift = timedelta(0)

    def of(self, record: Record) -> Iterable[Envelope]:
        """Everything there is to say about a record, made as it is taken."""
        if type(record) is Request:
            return self._request(record)
        if type(record) is WorkerVitals:
            return self._vitals(record) if self._metrics else ()
        assert isinstance(record, Event)
        return self._event(record)

    # ------------------------------------------------------------ a request

    def _request(self, request: Request) -> Iterable[Envelope]:
        name, start, agent = self._names.of(request), request.start, request.user_agent or None
        if self.shift:
            start += self.shift
        envelope = Envelope(
            REQUEST[0],
            start,
            self._key,
            Tags(
                request.service if len(request.service) <= 100 else cut(request.service, ROLE),
                self._instance,
                self._sdk,
                self._version,
                request.trace_id,
                request.parent_id,
                name,
                address(request),
                agent if agent is None or len(agent) <= AGENT // 2 else cut(agent, AGENT),
                cut(request.user, USER) if request.user else None,
            ),
            Data(REQUEST[1], self._requests.data(request, name)),
        )
        if request.sample_rate != 1.0:
            envelope.sampleRate = 100 * max(SMALLEST_RATE, min(1.0, request.sample_rate))
        if request.exception is None and not request.spans:
            return (envelope,)
        return chain((envelope,), self._below(request, envelope))

    def _below(self, request: Request, parent: Envelope) -> Iterator[Envelope]:
        """What happened within a request."""
        ended = parent.time + timedelta(milliseconds=request.duration_ms)
        if request.exception is not None:
            yield self._exception(request.exception, request.span_id, ended, parent)
        for span in request.spans:
            start = span.start + self.shift
            until_ms = max(0.0, (ended - start).total_seconds() * 1000)
            data = self._dependencies.of(span, until_ms)
            yield self._child(DEPENDENCY, data, start, span.parent_id, parent)
            if span.exception is not None and self._is_news(span.exception, request):
                lasted = until_ms if span.duration_ms is None else span.duration_ms
                at = start + timedelta(milliseconds=lasted)
                yield self._exception(span.exception, span.span_id, at, parent)

    @staticmethod
    def _is_news(info: ExceptionInfo, request: Request) -> bool:
        """What went through a span and ended the request, too, has been told with the request."""
        whole = request.exception
        same = whole is not None and (info.type, info.message) == (whole.type, whole.message)
        return is_exception(info) and not same

    def _exception(self, info: ExceptionInfo, below: str, at: datetime, parent: Envelope) -> Envelope:
        return self._child(EXCEPTION, exception_data(info, {}), at, below, parent)

    @staticmethod
    def _child(
        kind: tuple[Raw, Raw], data: BaseData, time: datetime, below: str, parent: Envelope
    ) -> Envelope:
        tags = parent.tags
        context = Tags(
            tags.role,
            tags.instance,
            tags.sdk,
            tags.version,
            tags.operation,
            cut(below, ID) or None,
            tags.name,
            tags.address,
            user=tags.user,
        )
        return Envelope(kind[0], time, parent.iKey, context, Data(kind[1], data), parent.sampleRate)

    # ------------------------------------------------------------ a worker

    def _vitals(self, vitals: WorkerVitals) -> Iterator[Envelope]:
        instance = raw(cut(vitals.host, INSTANCE)) if vitals.host else self._instance
        for data in metrics(vitals):
            yield self._of_worker(METRIC, data, vitals.time, vitals.service, instance)

    def _event(self, event: Event) -> Iterator[Envelope]:
        data = message_data(event)
        yield self._of_worker(MESSAGE, data, event.time, event.service, self._instance)
        if event.exception is not None:
            failure = exception_data(event.exception, data.properties)
            yield self._of_worker(EXCEPTION, failure, event.time, event.service, self._instance)

    def _of_worker(
        self, kind: tuple[Raw, Raw], data: BaseData, time: datetime, service: str, instance: Raw
    ) -> Envelope:
        tags = Tags(cut(service, ROLE), instance, self._sdk, self._version)
        return Envelope(kind[0], time + self.shift, self._key, tags, Data(kind[1], data))
