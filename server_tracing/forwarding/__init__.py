"""Who sent a request and when, as the proxies before us tell it; pure functions that never raise.

What a proxy says counts only if it comes from an address that is trusted, and only as far back as the
addresses it names are trusted in turn: the first one that is not is the client. X-Forwarded-For is asked
before Forwarded, because it is what proxies set or overwrite; a client's own Forwarded passes most untouched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from server_tracing.forwarding.rfc7239 import nodes

# What capture must record:
NAMES = frozenset({"x-forwarded-for", "forwarded", "x-request-start", "x-queue-start"})
MAX_HOPS = 32  # longer chains are an attempt to keep us busy
MAX_NODE = 64  # characters of one hop; IPv6 with a zone and a port needs about as many
DAY_MS = 86_400_000.0

_PORT = re.compile(r":(?:[0-9]{1,5}|_[A-Za-z0-9._-]+)")  # a number, or obfuscated (RFC 7239, section 6.3)
_STARTED = re.compile(r"(?:t=)?([0-9]{1,20}(?:\.[0-9]{1,20})?)")
_UNITS = ((1e11, 1e9), (1e14, 1e6), (1e17, 1e3), (1e21, 1.0))  # below 1e11: s (year 5138); then ms, us, ns

Headers = Iterable[tuple[str, str]]


class Trusted:
    """The proxies that are believed: addresses, networks, `*` (all), `unix` (peers without an address)."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._texts = frozenset(text.strip().lower() for text in addresses)
        self._all = "*" in self._texts
        self._networks = [network for text in self._texts if (network := _network(text))]
        self._named = lru_cache(maxsize=1024)(self._find)  # a proxy sends many requests

    def __contains__(self, peer: str) -> bool:
        return self._all or self._named(peer)

    def _find(self, peer: str) -> bool:
        if not peer:
            return "unix" in self._texts
        address = _parsed(peer)
        if address is None:
            return peer.lower() in self._texts
        return any(address.version == network.version and address in network for network in self._networks)

    def __repr__(self) -> str:
        return f"<Trusted {', '.join(sorted(self._texts)) or 'nobody'}>"


def addresses(proxies: str | Iterable[str]) -> tuple[str, ...]:
    """What servers are told of trusted proxies, as one text or as a list."""
    listed = proxies.split(",") if isinstance(proxies, str) else proxies
    return tuple(proxy.strip() for proxy in listed if proxy.strip())


def client(peer: str, headers: Headers, trusted: Trusted) -> tuple[str, str | None]:
    """The client's address and the header that named it; the peer itself and None if no header counts."""
    if peer not in trusted:
        return peer, None
    wanted: dict[str, list[str]] = {"x-forwarded-for": [], "forwarded": []}
    for name, value in headers:
        if name in wanted:
            wanted[name].append(value)
    for name, hops in (("x-forwarded-for", _listed), ("forwarded", nodes)):
        if wanted[name]:
            found = _walk(hops(wanted[name]), trusted)
            return (found, name) if found else (peer, None)
    return peer, None


def _walk(hops: Iterable[str], trusted: Trusted) -> str | None:
    """The first hop, nearest first, that is not trusted; what is no address ends the walk before it."""
    nearest = None
    for hop in hops:
        address = _address(hop) if len(hop) <= MAX_NODE else None
        if address is None:
            break
        nearest = address
        if nearest not in trusted:
            break
    return nearest


def _listed(values: list[str]) -> Iterator[str]:
    """The hops of X-Forwarded-For, nearest first."""
    return reversed(",".join(values).rsplit(",", MAX_HOPS))


@lru_cache(maxsize=1024)
def _address(hop: str) -> str | None:
    """The address of a hop as it is usually written, without a port."""
    parsed = _parsed(_without_port(hop.strip()))
    return None if parsed is None else str(parsed)


def _without_port(hop: str) -> str:
    """`192.0.2.1:4711` and `[2001:db8::1]:4711` without the port; others as they are."""
    if hop.startswith("["):
        inside, closed, port = hop[1:].partition("]")
        return inside if closed and (not port or _PORT.fullmatch(port)) else ""
    host, colon, port = hop.partition(":")
    return host if _PORT.fullmatch(colon + port) else hop


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def queue_time(headers: Headers, wall_start_ns: int) -> float | None:
    """Milliseconds between the proxy's stamp and our start; a clock that runs ahead of ours makes it 0."""
    for name, value in headers:
        if name in ("x-request-start", "x-queue-start"):
            queued = _since(value, wall_start_ns)
            if queued is not None:
                return queued
    return None


def _since(value: str, wall_start_ns: int) -> float | None:
    match = _STARTED.fullmatch(value.split(",", 1)[0].strip())
    if match is None:
        return None
    stamp = float(match[1])
    unit = next(nanoseconds for below, nanoseconds in _UNITS if stamp < below)
    waited = (wall_start_ns - stamp * unit) / 1e6
    return max(0.0, round(waited, 3)) if abs(waited) <= DAY_MS else None
