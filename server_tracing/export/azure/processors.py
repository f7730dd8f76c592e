"""Telemetry processors by OpenCensus' contract, which its users have: an envelope in, False drops it.

They get OpenCensus' own envelopes (its protocol module: dictionaries whose keys are attributes too) and run
by its own ProcessorMixin, so that what worked there works here: they may change what they get, one that
raises is logged and passed over. What they leave is cut to the service's limits once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from . import properties
from .loading import load
from .payload import encode_any
from .schema import NAME, TAGS, URL, cut

Processor = str | Callable[[Any], object]


class ProcessorError(Exception):
    """A processor that is not there: nothing may be sent that it was to look at."""


class Processors:
    """Applies processors to envelopes."""

    def __init__(self, processors: Sequence[Processor]) -> None:
        try:
            from opencensus.ext.azure.common.processor import ProcessorMixin
        except ImportError as error:
            raise ProcessorError(f"telemetry processors need server-tracing[azure]: {error}") from error
        self._mixin = ProcessorMixin()
        self._mixin.clear_telemetry_processors()
        for processor in processors:
            self._mixin.add_telemetry_processor(found(processor))

    def apply(self, item: bytes) -> bytes | None:
        """What is left of an item; None if nothing is to be sent."""
        kept = self._mixin.apply_telemetry_processors([_opencensus(msgspec.json.decode(item))])
        return encode_any(_within_limits(kept[0])) if kept else None


def found(processor: Processor) -> Callable[[Any], object]:
    """A processor by its import string."""
    if not isinstance(processor, str):
        return processor
    try:
        function: Callable[[Any], object] = load(processor)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ProcessorError(f"the telemetry processor {processor} cannot be imported ({why})") from error
    if not callable(function):
        raise ProcessorError(f"the telemetry processor {processor} is not a function")
    return function


def _opencensus(item: dict[str, Any]) -> Any:
    """An item as an envelope of OpenCensus."""
    from opencensus.ext.azure.common import protocol

    kinds = {
        "RequestData": protocol.Request,
        "RemoteDependencyData": protocol.RemoteDependency,
        "ExceptionData": protocol.ExceptionData,
        "MetricData": protocol.MetricData,
        "MessageData": protocol.Message,
    }
    data = item["data"]
    base = kinds[data["baseType"]](**{"properties": {}, **data["baseData"]})
    return protocol.Envelope(**{**item, "data": protocol.Data(baseData=base, baseType=data["baseType"])})


def _within_limits(envelope: Any) -> dict[str, Any]:
    data = dict(envelope["data"])
    base = {key: value for key, value in data["baseData"].items() if value is not None}
    told: dict[str, str] = {}
    given = base.get("properties")
    properties.add(told, given if isinstance(given, Mapping) else {})
    base["properties"] = told
    for key, limit in (("name", NAME), ("url", URL)):
        if isinstance(base.get(key), str):
            base[key] = cut(base[key], limit)
    item = {key: value for key, value in envelope.items() if value is not None}
    tags = {str(key): str(value) for key, value in item.get("tags", {}).items()}
    item["tags"] = {key: cut(value, TAGS.get(key, NAME)) for key, value in tags.items() if value}
    return {**item, "data": {**data, "baseData": base}}
