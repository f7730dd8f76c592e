"""Zipkin's B3 headers, in one (`b3`) or several (`X-B3-*`): https://github.com/openzipkin/b3-propagation

The single header wins where both are there and good. 64-bit trace ids count as the low half of 128; ids come
in pairs or not at all, a decision may come alone; debug means sampled.
"""

from __future__ import annotations

from server_tracing.propagation.context import Context, Found, Headers, identifier, only

NAMES: tuple[str, ...] = ("b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags")

_DECISIONS = {"0": False, "false": False, "1": True, "true": True, "d": True}


def read(found: Found) -> Context | None:
    """What the B3 headers say."""
    return _single(only(found, "b3") or "") or _multiple(found)


def _single(header: str) -> Context | None:
    """`<trace>-<span>[-<decision>[-<parent span>]]`, or the decision alone."""
    fields = header.split("-", 4)
    if len(fields) == 1:
        return _context(None, None, _DECISIONS.get(header.lower()))
    if len(fields) > 4 or (len(fields) == 4 and identifier(fields[3], 16) is None):
        return None
    decision = _DECISIONS.get(fields[2].lower()) if len(fields) > 2 else None
    trace_id, span_id = _trace_id(fields[0]), identifier(fields[1], 16)
    if trace_id is None or span_id is None or (len(fields) > 2 and decision is None):
        return None
    return _context(trace_id, span_id, decision)


def _multiple(found: Found) -> Context | None:
    trace_id = _trace_id(only(found, "x-b3-traceid") or "")
    span_id = identifier(only(found, "x-b3-spanid") or "", 16)
    debug = only(found, "x-b3-flags") == "1"
    decision = True if debug else _DECISIONS.get((only(found, "x-b3-sampled") or "").lower())
    return _context(trace_id, span_id, decision)


def _trace_id(text: str) -> int | None:
    return identifier(text, 16 if len(text) == 16 else 32)


def _context(trace_id: int | None, span_id: int | None, sampled: bool | None) -> Context | None:
    if trace_id is None or span_id is None:
        return None if sampled is None else Context(sampled=sampled, source="b3")
    return Context(trace_id=trace_id, parent_id=span_id, sampled=sampled, source="b3")


def write(context: Context) -> Headers:
    """The single header for a service we call."""
    decision = "" if context.sampled is None else f"{context.sampled:d}"
    if context.trace_id and context.parent_id:
        ids = f"{context.trace_id:032x}-{context.parent_id:016x}"
        return [("b3", f"{ids}-{decision}" if decision else ids)]
    return [("b3", decision)] if decision else []
