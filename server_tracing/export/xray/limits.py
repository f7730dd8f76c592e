"""What X-Ray takes: lengths, characters, types. What is too long is cut, what is forbidden left out or spelt
otherwise; the SDK sends it as it is, and the service refuses the document or drops the field.

Figures are those of the developer guide and of the published schema (xray-segmentdocument-schema-v1.0.0).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

DOCUMENT = 64_000  # bytes, by either reading of "64 kB", and with its header below a datagram's 65,507
NAME = 200  # characters
TEXT = 250  # of every other text that is not said to be longer
ANNOTATION_KEY, ANNOTATION = 500, 1000
ANNOTATIONS = 50  # of a trace are indexed
RESERVED = "AWS."  # how names of metadata may not begin

# Unicode letters and numbers (all that `isalnum` knows, in `\w`), separators, and these symbols:
_SEPARATORS = " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_NOT_IN_NAMES = re.compile(rf"[^\w{_SEPARATORS}.:/%&#=+\\@-]")
_ANNOTATION_KEY = re.compile(rf"[a-zA-Z0-9_]{{1,{ANNOTATION_KEY}}}").fullmatch
_NOT_IN_KEYS = re.compile(r"[^a-zA-Z0-9_]")

Scalar = str | int | float | bool


def cut(text: str | None, longest: int = TEXT) -> str | None:
    """Text that is not too long."""
    return text if text is None or len(text) <= longest else text[:longest]


def name(text: str) -> str:
    """The name of a service or a subsegment: what is not allowed is deleted, as the SDK does."""
    return _NOT_IN_NAMES.sub("", text)[:NAME].strip() or "unnamed"


def annotated(given: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    """Annotations as X-Ray takes them, and those beyond the number it indexes."""
    kept: dict[str, Scalar] = {}
    beyond: dict[str, Scalar] = {}
    for key, value in given.items():
        if not _ANNOTATION_KEY(key):
            key = _NOT_IN_KEYS.sub("_", key)[:ANNOTATION_KEY] or "_"
        place = kept if len(kept) < ANNOTATIONS or key in kept else beyond
        place[key] = _scalar(value)
    return kept, beyond


def _scalar(value: Scalar) -> Scalar:
    if type(value) is str:
        return value if len(value) <= ANNOTATION else value[:ANNOTATION]
    if type(value) is float and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    return value


def metadata(given: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata by namespace, without those that AWS keeps for itself."""
    return {
        namespace: values if isinstance(values, Mapping) else {"value": values}
        for namespace, values in given.items()
        if not namespace.startswith(RESERVED)
    }


def texts_cut(block: Mapping[str, Any], longest: int = TEXT) -> dict[str, Any]:
    """A block of fields with its texts cut."""
    return {key: cut(value, longest) if isinstance(value, str) else value for key, value in block.items()}
