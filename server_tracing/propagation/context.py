"""What a caller says about the trace a request belongs to, and what every header format that says it shares.

A format is a module with the shape of `Format`: `xray_header`, `w3c_header`, `b3_header`, `google_header`.
Its `write` says what its own `read` will understand, so that a context survives the way through a header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct


class Context(Struct, frozen=True, kw_only=True, gc=False):
    """Identity and decision as the caller, or for outgoing headers we, put them; absent means not said."""

    trace_id: int | None = None  # 128 bits
    parent_id: int | None = None  # 64 bits: the caller's span
    sampled: bool | None = None
    sampled_asked: bool = False  # X-Ray's `Sampled=?`: tell me what you decide
    random: bool = False  # W3C's flag: the low 56 bits of the trace id are random
    tracestate: str | None = None
    xray_extra: str | None = None  # fields of X-Amzn-Trace-Id to hand on untouched: Lineage, CalledFrom, ...
    source: str = ""  # the format that said so


NOTHING = Context()

Found = Mapping[str, Sequence[str]]  # lower-case header name -> its values, in order
Headers = list[tuple[str, str]]


class Format(Protocol):
    """One way to write a context into headers."""

    NAMES: tuple[str, ...]

    def read(self, found: Found) -> Context | None:
        """What these headers say, or None; never raises."""

    def write(self, context: Context) -> Headers:
        """The headers that say `context`; none if the format cannot."""


_HEX = re.compile("[0-9a-fA-F]+")


def identifier(text: str, digits: int) -> int | None:
    """The id written as exactly so many hex digits, or None; zero is no id in any format."""
    if len(text) != digits or _HEX.fullmatch(text) is None:
        return None
    return int(text, 16) or None


def only(found: Found, name: str) -> str | None:
    """The value of a header that may come once; sent twice, nobody can say which one is meant."""
    values = found.get(name)
    if values is None or len(values) != 1:
        return None
    return values[0].strip(" \t")
