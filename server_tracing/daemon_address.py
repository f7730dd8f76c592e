"""Where the X-Ray daemon listens: segments go to it by UDP, sampling is asked of it by TCP.

The spellings are the SDK's: `host:port` for both, or `tcp:host:port udp:host:port` in either order. Blanks
around them, which the SDK refuses, and IPv6 in brackets, which it cannot read, are taken too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PLACE = r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})"


class Place(NamedTuple):
    """A host, by name or address, and a port of it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class DaemonAddress(NamedTuple):
    """The two doors of the daemon."""

    udp: Place
    tcp: Place


def parse(text: str) -> DaemonAddress:
    """The places in an address; ValueError for everything that is none."""
    words = text.split()
    if len(words) == 1:
        place = _place(words[0])
        return DaemonAddress(place, place)
    named = {word[:4].lower(): word[4:] for word in words}
    if len(words) != 2 or set(named) != {"udp:", "tcp:"}:
        raise ValueError
    return DaemonAddress(_place(named["udp:"]), _place(named["tcp:"]))


def _place(word: str) -> Place:
    found = re.fullmatch(_PLACE, word)
    if not found or not 1 <= int(found[3]) <= 65535:
        raise ValueError
    return Place(found[1] or found[2], int(found[3]))
