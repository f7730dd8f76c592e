"""Documents that are too large by themselves: metadata goes first, the largest of it before the rest, then
stacks, then whatever else may be long. What was trimmed is said in the document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .documents import Document, Segment, Subsegment, Throwable, encode
from .limits import texts_cut
from .segments import OURS, Details

FRAMES, FEW_FRAMES = 20, 5  # of a stack that has to be short: the innermost
LONG, SHORT = 1000, 100  # characters of a text that has to be short
NOTE = 30  # bytes of what stands in the place of metadata


def fitted(document: Document, limit: int) -> bytes:
    """A document as JSON of `limit` bytes at most."""
    data = encode(document)
    trimmed: list[str] = []
    for what, shorten in _WAYS:
        excess = len(data) - limit
        if excess <= 0:
            break
        shorten(document, excess)
        before, data = data, encode(document)
        if len(data) < len(before) and what not in trimmed:
            trimmed.append(what)
            _mark(document, trimmed)
            data = encode(document)
    return data


def _mark(document: Document, trimmed: list[str]) -> None:
    ours = document.metadata.get(OURS)
    if isinstance(ours, Details):
        ours.trimmed = trimmed
    else:
        document.metadata = {**document.metadata, OURS: {**(ours or {}), "trimmed": trimmed}}


def _largest_metadata(document: Document, excess: int) -> None:
    """As few values as will do."""
    sizes = [
        (len(encode(value)), namespace, key)
        for namespace, values in document.metadata.items()
        if isinstance(values, Mapping)
        for key, value in values.items()
    ]
    document.metadata = {
        namespace: dict(values) if isinstance(values, Mapping) else values
        for namespace, values in document.metadata.items()
    }
    for size, namespace, key in sorted(sizes, reverse=True):
        if excess <= 0 or size <= NOTE:
            break
        document.metadata[namespace][key] = f"(trimmed: {size} bytes)"
        excess -= size - NOTE - 2 * len("trimmed, metadata")


def _all_metadata(document: Document, _excess: int) -> None:
    ours = document.metadata.get(OURS)
    document.metadata = {}
    if isinstance(ours, Details):
        ours.headers, ours.annotations, ours.said = {}, {}, {}
        document.metadata[OURS] = ours


def _stacks(longest: int) -> Callable[[Document, int], None]:
    def shorten(document: Document, _excess: int) -> None:
        ours = document.metadata.get(OURS)
        if isinstance(ours, Details):
            ours.stack = None
        for throwable in document.cause.exceptions if document.cause else ():
            _shorten_stack(throwable, longest)

    return shorten


def _shorten_stack(throwable: Throwable, longest: int) -> None:
    throwable.truncated += max(0, len(throwable.stack) - longest)
    throwable.stack = throwable.stack[-longest:]


def _chain(document: Document, _excess: int) -> None:
    """The exception that got out and the one it all began with, with short messages."""
    if document.cause is None:
        return
    first, *others = document.cause.exceptions
    if len(others) > 1:
        first.cause, others[-1].skipped = others[-1].id, len(others) - 1
    document.cause.exceptions = [first, *others[-1:]]
    for throwable in document.cause.exceptions:
        throwable.message = throwable.message[:LONG]


def _blocks(document: Document, _excess: int) -> None:
    if isinstance(document, Subsegment):
        document.sql = texts_cut(document.sql, LONG)
        document.aws = _scalars(document.aws)
        document.http = {name: _scalars(part) for name, part in document.http.items()}


def _scalars(block: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in block.items() if isinstance(value, (str, int, float))}
    return texts_cut(plain, SHORT)


def _short_annotations(document: Document, _excess: int) -> None:
    document.annotations = texts_cut(document.annotations, SHORT)


def _bare(document: Document, _excess: int) -> None:
    """The bare fact that it happened."""
    document.annotations, document.cause, document.metadata = {}, None, {}
    if isinstance(document, Subsegment):
        document.sql, document.aws, document.http = {}, {}, {}
    elif isinstance(document, Segment):
        document.aws = type(document.aws)(b"{}")


_WAYS: tuple[tuple[str, Callable[[Document, int], None]], ...] = (
    ("metadata", _largest_metadata),
    ("metadata", _all_metadata),
    ("stack", _stacks(FRAMES)),
    ("stack", _stacks(FEW_FRAMES)),
    ("cause", _chain),
    ("blocks", _blocks),
    ("annotations", _short_annotations),
    ("everything", _bare),
)
