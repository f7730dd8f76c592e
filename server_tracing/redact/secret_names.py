"""Which names are those of secrets: case-insensitive globs, each name decoded and looked up once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from server_tracing.naming.wildcard import Wildcard

MOST_REMEMBERED = 1024
LONGEST_REMEMBERED = 128

_PARTS = re.compile(r"[\[\].:?/\s]+")  # user[password], user.password


class SecretNames:
    """Globs over parameter names. Nearly all are `*word*` or `word*`, for which no expression is needed."""

    def __init__(self, globs: Iterable[str]) -> None:
        self.known: dict[str, bool] = {}  # name as it came -> whether it is a secret's; for fast readers too
        self._whole: set[str] = set()
        self._begin: tuple[str, ...] = ()
        self._end: tuple[str, ...] = ()
        self._inside: tuple[str, ...] = ()
        self._other: list[Wildcard] = []
        self.size = 0
        for glob in globs:
            self._add(glob.lower())

    def include(self, name: str) -> bool:
        """Whether a name, percent-encoded or not, or a part of it as in `user[password]`, is one of ours."""
        known = self.known.get(name)
        if known is None:
            known = self._look_up(name)
            if len(self.known) >= MOST_REMEMBERED:
                self.known.clear()
            if len(name) <= LONGEST_REMEMBERED:
                self.known[name] = known
        return known

    def _add(self, glob: str) -> None:
        self.size += 1
        word = glob.strip("*")
        if "*" in word or "?" in word or not word:
            self._other.append(Wildcard(glob))
        elif glob == word:
            self._whole.add(word)
        elif glob[0] != "*":
            self._begin += (word,)
        elif glob[-1] != "*":
            self._end += (word,)
        else:
            self._inside += (word,)

    def _look_up(self, name: str) -> bool:
        plain = decoded(name).strip().lower()
        return self._is_secret(plain) or any(map(self._is_secret, filter(None, _PARTS.split(plain)[:32])))

    def _is_secret(self, name: str) -> bool:
        return (
            name in self._whole
            or name.startswith(self._begin)
            or name.endswith(self._end)
            or any(word in name for word in self._inside)
            or any(glob.matches(name) for glob in self._other)
        )


def decoded(text: str) -> str:
    """Percent-encoding and `+` undone; what is not UTF-8 becomes a replacement character."""
    if "%" not in text and "+" not in text:
        return text
    from urllib.parse import unquote_plus  # 10 ms to import: in no door's way

    return unquote_plus(text)
