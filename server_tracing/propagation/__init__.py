"""Headers <-> trace identity: pure functions that never raise, whatever the headers hold.

A header that is wrong counts as if it were absent. The first format of `propagation` whose headers carry an
identity wins; where none does, the first that carries at least a decision. X-Ray and W3C write the same 128
bits, so ids convert without loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from server_tracing.propagation import (
    b3 as b3_header,
)
from server_tracing.propagation import (
    google as google_header,
)
from server_tracing.propagation import (
    w3c as w3c_header,
)
from server_tracing.propagation import (
    xray as xray_header,
)
from server_tracing.propagation.context import NOTHING, Context, Format, Headers
from server_tracing.propagation.xray import from_xray_root, xray_root

__all__ = [
    "FORMATS",
    "NAMES",
    "Context",
    "believed",
    "extract",
    "from_xray_root",
    "inject",
    "response",
    "xray_root",
]

FORMATS: dict[str, Format] = {
    "xray": xray_header,
    "w3c": w3c_header,
    "b3": b3_header,
    "google": google_header,
}
NAMES = frozenset(name for form in FORMATS.values() for name in form.NAMES)  # what capture must record


def believed(trust_context: str, peer_trusted: bool) -> bool:
    """Whether a caller's context counts: `trust_context` is always, proxies or never."""
    return trust_context == "always" or (trust_context == "proxies" and peer_trusted)


def extract(headers: Iterable[tuple[str, str]], propagation: Sequence[str]) -> Context:
    """What the headers (lower-case names) say of the trace, asking the formats in this order."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name in NAMES:
            found.setdefault(name, []).append(value)
    return _first(found, propagation) if found else NOTHING


def _first(found: dict[str, list[str]], propagation: Sequence[str]) -> Context:
    nameless = NOTHING
    for name in propagation:
        context = FORMATS[name].read(found) if name in FORMATS else None
        if context is None:
            continue
        if context.trace_id is not None:
            return context
        if nameless is NOTHING:
            nameless = context
    return nameless


def inject(context: Context, formats: Sequence[str]) -> Headers:
    """Headers for a service we call; `parent_id` is our span there. `extract` reads back what this writes."""
    return [header for name in formats if name in FORMATS for header in FORMATS[name].write(context)]


def response(context: Context, span_id: int) -> Headers:
    """Headers for our own answer: the trace it belongs to, whether kept or not."""
    if context.trace_id is None:
        return []
    xray = xray_header.response(context.trace_id, bool(context.sampled), context.sampled_asked)
    traceresponse = w3c_header.response(context.trace_id, span_id, context)
    return [("X-Amzn-Trace-Id", xray), ("traceresponse", traceresponse)]
