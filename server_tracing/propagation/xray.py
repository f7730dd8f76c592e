"""X-Amzn-Trace-Id, and X-Ray's way to write a trace id.

The grammar is the X-Ray SDK's (exact-case keys, the last of equal ones wins, unknown fields handed on, `Self`
not) with its faults mended: blanks and trailing semicolons are tolerated, ids are validated, and a bad part
spoils only itself.
https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
"""

from __future__ import annotations

import re

from server_tracing.propagation.context import Context, Found, Headers, identifier, only

NAMES: tuple[str, ...] = ("x-amzn-trace-id",)
MAX_EXTRA = 1024  # characters of foreign fields handed on: Lineage needs a few dozen

# How load balancers and SDKs write it, which is nearly always: read at once, in a third of the time.
_USUAL = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})(?:;Parent=([0-9a-f]{16}))?(?:;Sampled=([01]))?")
_KEY = re.compile(r"[\x21-\x7e]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_DECISIONS = {"0": False, "1": True}
_SAYS_NOTHING = Context(source="xray")


def xray_root(trace_id: int) -> str:
    """The trace id as X-Ray writes it: version, epoch second, 96 random bits."""
    digits = f"{trace_id:032x}"
    return f"1-{digits[:8]}-{digits[8:]}"


def from_xray_root(text: str) -> int | None:
    """The trace id in `1-<8 hex>-<24 hex>`, or None."""
    if len(text) != 35 or text[:2] != "1-" or text[10] != "-":
        return None
    return identifier(text[2:10] + text[11:], 32)


def read(found: Found) -> Context | None:
    """What X-Amzn-Trace-Id says; a decision counts without an identity, a parent does not."""
    header = only(found, NAMES[0])
    if not header:
        return None
    usual = _USUAL.fullmatch(header)
    return _usual(*usual.groups()) if usual else _any(header)


def _usual(second: str, rest: str, parent: str | None, sampled: str | None) -> Context | None:
    trace_id = int(second + rest, 16) or None
    parent_id = int(parent, 16) or None if parent else None
    if trace_id is None and sampled is None:
        return None
    return Context(
        trace_id=trace_id,
        parent_id=parent_id if trace_id else None,
        sampled=_DECISIONS[sampled] if sampled else None,
        source="xray",
    )


def _any(header: str) -> Context | None:
    fields = _fields(header)
    trace_id = from_xray_root(fields.pop("Root", ""))
    parent_id = identifier(fields.pop("Parent", ""), 16)
    sampled = fields.pop("Sampled", "")
    fields.pop("Self", None)
    context = Context(
        trace_id=trace_id,
        parent_id=parent_id if trace_id else None,
        sampled=_DECISIONS.get(sampled),
        sampled_asked=sampled == "?",
        xray_extra=_extra(fields),
        source="xray",
    )
    return None if context == _SAYS_NOTHING else context


def _fields(header: str) -> dict[str, str]:
    parts = (part.partition("=") for part in header.split(";"))
    return {key.strip(" \t"): value.strip(" \t") for key, equals, value in parts if equals}


def _extra(fields: dict[str, str]) -> str | None:
    """The foreign fields, ready to be handed on; nothing in them may break out of a header."""
    harmless = (field for field in fields.items() if _KEY.fullmatch(field[0]) and _VALUE.fullmatch(field[1]))
    extra = ";".join(map("=".join, harmless))
    return extra if 0 < len(extra) <= MAX_EXTRA else None


def write(context: Context) -> Headers:
    """X-Amzn-Trace-Id for a service we call."""
    parts = []
    if context.trace_id:
        parts.append(f"Root={xray_root(context.trace_id)}")
        if context.parent_id:
            parts.append(f"Parent={context.parent_id:016x}")
    if context.sampled is not None:
        parts.append(f"Sampled={context.sampled:d}")
    elif context.sampled_asked:
        parts.append("Sampled=?")
    if context.xray_extra:
        parts.append(context.xray_extra)
    return [(NAMES[0], ";".join(parts))] if parts else []


def response(trace_id: int, sampled: bool, asked: bool) -> str:
    """X-Amzn-Trace-Id for our own answer: the decision only where the caller asked for it, never a parent."""
    root = f"Root={xray_root(trace_id)}"
    return f"{root};Sampled={sampled:d}" if asked else root
