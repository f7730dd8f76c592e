"""A route for a request whose framework told none: its path, with what looks like data left out.

`/users/4711/cart` and `/users/4712/cart` must be one line of a table, `/v2/cart` must stay what it is.
"""

from __future__ import annotations

import re
from functools import lru_cache

ID = "{id}"
MOST_SEGMENTS = 8
LONGEST_SEGMENT = 40
LONGEST_PATH = 1024
LONGEST_REMEMBERED = 256  # what is remembered is bounded in bytes, not only in number

_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_VERSION = re.compile(r"v[0-9]{1,3}(?:\.[0-9]{1,3}){0,2}", re.IGNORECASE)
_WORDS = re.compile(r"([._~-]+)")
_PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
_HEX = re.compile(r"(?=.*[0-9])[0-9a-f]{6,}", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{3,}")
_CHANGE = re.compile(r"[0-9](?=[A-Za-z])|[A-Za-z](?=[0-9])|[a-z](?=[A-Z])")
_REPEATED = re.compile(r"\{id\}(?:[._~-]+\{id\})+")


def routeless_name(path: str) -> str:
    """The path with numbers, ids, hashes, tokens and free text as `{id}`, and at most so many segments."""
    return _remembered(path) if len(path) <= LONGEST_REMEMBERED else _name(path[:LONGEST_PATH])


def _name(path: str) -> str:
    segments = path.removeprefix("/").split("/")
    named = [_segment(segment) for segment in segments[:MOST_SEGMENTS]]
    if len(segments) > MOST_SEGMENTS:
        named.append("*")
    return "/" + "/".join(named)


_remembered = lru_cache(maxsize=1024)(_name)


def _segment(segment: str) -> str:
    if not segment or (segment.isalpha() and segment.isascii() and len(segment) <= 12):
        return segment
    if len(segment) > LONGEST_SEGMENT or not _PLAIN.fullmatch(segment) or _UUID.fullmatch(segment):
        return ID
    if _VERSION.fullmatch(segment):
        return segment
    return _REPEATED.sub(ID, "".join(map(_word, _WORDS.split(segment))))


def _word(word: str) -> str:
    """Part of a segment: `123`, `3f2a91bc`, `dBjftJeZ4CVP` are data; `s3`, `oauth2`, `index` are not."""
    if word.isdigit() or _HEX.fullmatch(word) or (len(word) >= 8 and len(_CHANGE.findall(word)) >= 3):
        return ID
    return _DIGITS.sub(ID, word)
