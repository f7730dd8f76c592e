"""traceparent and tracestate, strictly by W3C Trace Context level 2: https://www.w3.org/TR/trace-context-2/

A traceparent of a later version is read as far as this one goes and answered in version 00; an invalid
tracestate is dropped whole and leaves the traceparent alone (section 3.3).
"""

from __future__ import annotations

import re

from server_tracing.propagation.context import Context, Found, Headers, identifier, only

NAMES: tuple[str, ...] = ("traceparent", "tracestate")
MAX_MEMBERS = 32
SAMPLED, RANDOM = 0b01, 0b10

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_MEMBER = re.compile(
    r"([a-z0-9][a-z0-9_*/@-]{0,255})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


def read(found: Found) -> Context | None:
    """What traceparent and, beside a good one only, tracestate say."""
    match = _TRACEPARENT.fullmatch(only(found, "traceparent") or "")
    if match is None:
        return None
    version, trace, parent, flags, suffix = match.groups()
    trace_id, parent_id = identifier(trace, 32), identifier(parent, 16)
    if trace_id is None or parent_id is None or version == "ff" or (version == "00" and suffix):
        return None
    bits = int(flags, 16)
    return Context(
        trace_id=trace_id,
        parent_id=parent_id,
        sampled=bool(bits & SAMPLED),
        random=bool(bits & RANDOM),
        tracestate=_tracestate(found),
        source="w3c",
    )


def _tracestate(found: Found) -> str | None:
    """All tracestate headers as one list without blanks around members, or None if any member is wrong."""
    texts = (text.strip(" \t") for value in found.get("tracestate", ()) for text in value.split(","))
    members: dict[str, str] = {}
    for text in filter(None, texts):
        match = _MEMBER.fullmatch(text)
        if match is None:
            return None
        members.setdefault(match[1], text)  # a key twice: the suite of the W3C wants one of them kept
        if len(members) > MAX_MEMBERS:
            return None
    return ",".join(members.values()) or None


def write(context: Context) -> Headers:
    """traceparent and tracestate for a service we call; there is no traceparent without a parent."""
    if not context.trace_id or not context.parent_id:
        return []
    headers = [("traceparent", _version_00(context.trace_id, context.parent_id, context))]
    if context.tracestate:
        headers.append(("tracestate", context.tracestate))
    return headers


def _version_00(trace_id: int, span_id: int, context: Context) -> str:
    flags = (SAMPLED if context.sampled else 0) | (RANDOM if context.random else 0)
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def response(trace_id: int, span_id: int, context: Context) -> str:
    """traceresponse for our own answer (level 2, section 4): which span served this."""
    return _version_00(trace_id, span_id, context)
