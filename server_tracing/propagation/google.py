"""X-Cloud-Trace-Context: `<32 hex>[/<decimal span>][;o=<options>]`; without options the trace is sampled.

https://cloud.google.com/trace/docs/trace-context#legacy-http-header
"""

from __future__ import annotations

import re

from server_tracing.propagation.context import Context, Found, Headers, identifier, only

NAMES: tuple[str, ...] = ("x-cloud-trace-context",)
SAMPLED = 0b1

_HEADER = re.compile(r"([0-9a-fA-F]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]{1,3}))?")


def read(found: Found) -> Context | None:
    """What X-Cloud-Trace-Context says; a span of more than 64 bits is none."""
    match = _HEADER.fullmatch(only(found, NAMES[0]) or "")
    if match is None:
        return None
    trace_id, span_id = identifier(match[1], 32), int(match[2] or 0)
    if trace_id is None or span_id >> 64:
        return None
    sampled = bool(int(match[3] or SAMPLED) & SAMPLED)
    return Context(trace_id=trace_id, parent_id=span_id or None, sampled=sampled, source="google")


def write(context: Context) -> Headers:
    """X-Cloud-Trace-Context for a service we call."""
    if not context.trace_id:
        return []
    span = f"/{context.parent_id}" if context.parent_id else ""
    options = "" if context.sampled is None else f";o={context.sampled:d}"
    return [(NAMES[0], f"{context.trace_id:032x}{span}{options}")]
