"""Spans as subsegments; the children are put into their parents by packing.py."""

from __future__ import annotations

from typing import Any

from server_tracing.record import FinishedSpan, Request

from . import causes, flags, limits
from .documents import Subsegment
from .downstream import Call, call_of
from .segments import OURS, epoch

_FLAGS = ("error", "fault", "throttle")
_MEANT = frozenset(("namespace", "http", "sql", "aws", "metadata", "cause", *_FLAGS))


def subsegment(span: FinishedSpan, request: Request, directory: str) -> Subsegment:
    """The subsegment of one span, as far as it needs nobody else."""
    call = call_of(span)
    start = epoch(span.start)
    made = Subsegment(
        id=span.span_id,
        parent_id=span.parent_id,
        name=limits.name(call.name or span.name),
        start_time=start,
        end_time=None if span.duration_ms is None else start + span.duration_ms / 1000,
        in_progress=span.duration_ms is None,
        namespace=call.namespace,
        http=call.http,
        sql=call.sql,
        aws=call.aws,
    )
    if span.duration_ms is None and request.outcome == "killed":
        _cut_off(made, request)
    made.metadata = _metadata(span)
    if span.annotations:
        made.annotations, beyond = limits.annotated(span.annotations)
        if beyond:
            made.metadata[OURS] = {"annotations": beyond}
    _flag(made, span, call, directory)
    return made


def _cut_off(made: Subsegment, request: Request) -> None:
    """It ended when its worker did."""
    made.end_time = max(made.start_time, epoch(request.start) + request.duration_ms / 1000)
    made.in_progress = False
    made.fault = True


def _flag(made: Subsegment, span: FinishedSpan, call: Call, directory: str) -> None:
    """By the status of what was called; an exception is a fault where there is none."""
    status = _status(call)
    flags.apply(made, status)
    if span.exception is not None:
        made.cause = causes.of_exception(span.exception, span.span_id, directory, remote=_remote(span))
        made.fault = made.fault or not made.error
    for flag in _FLAGS:
        if span.metadata.get(flag) is True:
            setattr(made, flag, True)


def _remote(span: FinishedSpan) -> bool:
    """Whether it was somebody else's exception."""
    cause = span.metadata.get("cause")
    return isinstance(cause, dict) and cause.get("remote") is True


def _status(call: Call) -> int | None:
    response = call.http.get("response")
    status = response.get("status") if response else None
    return status if type(status) is int else None


def _metadata(span: FinishedSpan) -> dict[str, Any]:
    if not span.metadata:
        return {}
    given = span.metadata.get("metadata")
    metadata = limits.metadata(given) if isinstance(given, dict) else {}
    plain = {key: value for key, value in span.metadata.items() if key not in _MEANT}
    if plain:
        metadata["default"] = {**metadata.get("default", {}), **plain}
    return metadata
