"""Calls by way of the X-Ray daemon, which listens on a TCP port, signs what it is given and passes it on.

Written to the socket itself: HTTP/1.0, a connection for each call, a reply that ends where the connection
does. An HTTP library may be one that the application has instrumented, and would then trace our calls as its
own; under gevent it would need an event loop in our thread.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from server_tracing import unpatched
from server_tracing.daemon_address import Place
from server_tracing.units import printable

from .control_plane import ControlPlaneError, Reply, http_date

PATHS = {"GetSamplingRules": "/GetSamplingRules", "GetSamplingTargets": "/SamplingTargets"}
PATIENCE = 5.0  # seconds for one call, however it is spent
LARGEST = 4 << 20  # bytes of a reply
LONGEST_REASON = 200
STRANGER = ": is it X-Ray's daemon that listens there?"


class DaemonCaller:
    """Calls through the daemon at one place."""

    def __init__(
        self, place: Place, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.place = f"the X-Ray daemon at {place}"
        self._place = place
        self._patience = patience
        self._clock = clock

    def call(self, operation: str, parameters: Mapping[str, Any]) -> Reply:
        """One call, answered, or a `ControlPlaneError`."""
        request = _request(PATHS[operation], self._place, msgspec.json.encode(parameters))
        try:
            head, content = self._exchanged(request)
        except TimeoutError:
            raise ControlPlaneError(f"no reply within {self._patience:g} s") from None
        except (OSError, UnicodeError) as error:  # the latter of a host that cannot be a name
            raise ControlPlaneError(getattr(error, "strerror", None) or str(error)) from None
        status, headers = _read_head(head)
        if status != 200:
            raise ControlPlaneError(_refusal(status, headers, content))
        try:
            said = msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError:
            raise ControlPlaneError(f"the reply is no JSON{STRANGER}") from None
        return Reply(said, http_date(headers.get("date", "")))

    def _exchanged(self, request: bytes) -> tuple[bytes, bytes]:
        """Head and content of the reply."""
        deadline = self._clock() + self._patience
        with self._connected(deadline) as connection:
            connection.sendall(request)
            received = bytearray()
            while chunk := self._received(connection, deadline):
                received += chunk
                if len(received) > LARGEST:
                    raise ControlPlaneError(f"the reply is larger than {LARGEST >> 20} MiB")
        head, _, content = bytes(received).partition(b"\r\n\r\n")
        return head, content

    def _received(self, connection: socket.socket, deadline: float) -> bytes:
        connection.settimeout(max(deadline - self._clock(), 0.001))
        return connection.recv(65536)

    def _connected(self, deadline: float) -> socket.socket:
        """A connection to the first of the daemon's addresses that takes one."""
        refused: OSError | None = None
        for family, kind, protocol, _, address in unpatched.addresses(*self._place):
            connection: socket.socket = unpatched.socket(family, kind, protocol)
            try:
                connection.settimeout(max(deadline - self._clock(), 0.001))
                connection.connect(address)
            except OSError as error:
                connection.close()
                refused = error
            else:
                return connection
        raise refused or OSError("its name has no address")

    def __repr__(self) -> str:
        return f"<DaemonCaller {self._place}>"


def _request(path: str, place: Place, content: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.0\r\nHost: {place}\r\nUser-Agent: server-tracing\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + content


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers, names in lower case."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not words[0].startswith("HTTP/1.") or len(words) < 2 or not words[1].isdecimal():
        raise ControlPlaneError(f"the reply is no HTTP{STRANGER}")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if "transfer-encoding" in headers:
        raise ControlPlaneError("the reply is chunked, which HTTP/1.0 does not have")
    return int(words[1]), headers


def _refusal(status: int, headers: Mapping[str, str], content: bytes) -> str:
    """What was wrong, in the service's words: the kind of error stands in a header or in the content."""
    told: dict[str, Any] = {}
    with suppress(msgspec.DecodeError):
        told = {
            name.lower(): value for name, value in msgspec.json.decode(content, type=dict[str, Any]).items()
        }
    kind = headers.get("x-amzn-errortype") or told.get("__type") or told.get("code") or ""
    kind = str(kind).partition(":")[0].rpartition("#")[2]
    words = filter(None, (f"HTTP {status}", kind, str(told.get("message") or "")))
    return printable(" ".join(words))[:LONGEST_REASON]
