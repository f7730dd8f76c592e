"""One connection to the ingestion endpoint, kept alive, through a proxy where there is one.

http.client, because it is cheapest: 0.1 ms of processor time a post, where a session of requests takes 0.4 ms
and requests.post with a connection of its own, which is OpenCensus' way, 0.65 ms (measured, without TLS).
No redirect is followed here, no credential is kept, and every failure is an Unreachable with a sentence.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from server_tracing.units import printable

from .punctual import PunctualResponse
from .trust import trusted

BODILESS = (204, 304)  # not read; a server that sends one all the same would have it read as the next answer
MAX_REPLY = 4 << 20  # bytes of an answer that are read; one error takes about 200
Proxies = Mapping[str, str] | None  # None: those of the environment


class UnreachableError(Exception):
    """There was no answer; the text is a sentence about the endpoint."""


class Reply(NamedTuple):
    """What the service answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """A header's value, or nothing."""
        return self.headers.get(name.lower(), "")


class Wire:
    """Posts to one endpoint after the other over a connection that stays open. One thread's."""

    def __init__(
        self,
        timeout: float,
        proxies: Proxies = None,
        context: Callable[[], ssl.SSLContext] = trusted,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._proxies = proxies
        self._make_context = context
        self._context: ssl.SSLContext | None = None
        self._clock = clock
        self._connection: http.client.HTTPConnection | None = None
        self._origin = ""  # what the connection leads to
        self._by_way_of = ""  # a proxy, without its credentials
        self._in_full = False  # a proxy for plain http wants whole URLs
        self._credentials: dict[str, str] = {}  # for such a proxy
        self.opened = 0  # connections

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post, and read the answer."""
        parts = urlsplit(url)
        deadline = self._clock() + self._timeout
        try:
            connection = self._connect(parts)
            connection.response_class = partial(  # type: ignore[assignment]
                PunctualResponse, left=lambda: deadline - self._clock()
            )
            if connection.sock is not None:
                connection.sock.settimeout(self._timeout)
            target = url if self._in_full else url[len(f"{parts.scheme}://{parts.netloc}") :]
            connection.request("POST", target, body, {**headers, **self._credentials})
            return self._read(connection)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise UnreachableError(_sentence(error, parts, self._by_way_of, self._timeout)) from error

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        origin = f"{parts.scheme}://{parts.netloc}"
        if self._connection is not None and (origin != self._origin or self._gone(self._connection)):
            self.close()
        if self._connection is None:
            self._connection = self._open(parts)
            self._origin = origin
            self.opened += 1
        return self._connection

    def _open(self, parts: SplitResult) -> http.client.HTTPConnection:
        assert parts.hostname is not None
        self._by_way_of = ""
        proxy = self._proxy(parts)
        first = urlsplit(proxy) if proxy else parts
        if proxy:
            self._by_way_of = f"http://{first.netloc.rpartition('@')[2]}"
        self._in_full = bool(proxy) and parts.scheme == "http"
        self._credentials = _authorization(first) if self._in_full else {}
        if parts.scheme == "http":
            return http.client.HTTPConnection(first.hostname or "", first.port or 80, timeout=self._timeout)
        self._context = self._context or self._make_context()
        secure = http.client.HTTPSConnection(
            first.hostname or "", first.port or (80 if proxy else 443), timeout=self._timeout,
            context=self._context,
        )  # fmt: skip
        if proxy:
            secure.set_tunnel(parts.hostname, parts.port or 443, _authorization(first))
        return secure

    def _proxy(self, parts: SplitResult) -> str:
        if self._proxies is not None:
            return self._proxies.get(parts.scheme, "")
        proxy = getproxies_environment().get(parts.scheme, "")
        if not proxy or proxy_bypass_environment(parts.netloc.rpartition("@")[2]):
            return ""
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        if not proxy.startswith("http://") or not _has_place(proxy):
            raise ValueError(f"the {parts.scheme}_proxy of the environment is not an http proxy")
        return proxy

    @staticmethod
    def _gone(connection: http.client.HTTPConnection) -> bool:
        """Has the other side closed it while it was idle? Then there is something to read: its end."""
        if connection.sock is None:
            return False  # it opens by itself
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return bool(poll.poll(0))

    def _read(self, connection: http.client.HTTPConnection) -> Reply:
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        parts, room = [], MAX_REPLY
        while room > 0 and (part := response.read1(min(room, 64 << 10))):
            parts.append(part)
            room -= len(part)
        whole = response.isclosed() or response.length == 0
        response.close()  # which leaves the connection open
        if response.will_close or not whole or response.status in BODILESS:
            self.close()
        return Reply(response.status, headers, b"".join(parts))

    def close(self) -> None:
        """Hang up; the next post opens anew."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __repr__(self) -> str:
        state = f"open to {self._origin}" if self._connection is not None else "closed"
        return f"<Wire {state} · {self.opened} connections so far>"


def _has_place(address: str) -> bool:
    """Has it a host, and a port that may be? What it has instead may be a password: nobody is told."""
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    name_and_password = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(name_and_password).decode()}"}


def _sentence(error: Exception, parts: SplitResult, by_way_of: str, timeout: float) -> str:
    """What went wrong, for a person, and with whom: where there is a proxy, it alone is connected to."""
    where, host = f"{parts.scheme}://{parts.netloc}", parts.hostname
    if by_way_of and isinstance(error, (ConnectionRefusedError, socket.gaierror)):
        where = host = f"the proxy {by_way_of}"
    elif by_way_of:
        where = f"{where} (through the proxy {by_way_of})"
    if isinstance(error, TimeoutError):
        return f"{where} did not answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refused the connection"
    if isinstance(error, socket.gaierror):
        return f"{host} is not known to the DNS ({error.strerror})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {where} is not trusted: {error.verify_message}"
    if isinstance(error, http.client.HTTPException):
        return f"{where} answered with something that is not HTTP ({type(error).__name__})"
    return f"{where} cannot be reached: {printable(str(error)) or type(error).__name__}"
