"""Documents to the X-Ray daemon, each in one datagram behind the daemon's header.

Nothing comes back by UDP, but a socket that is connected hears from the kernel when nobody listens: then
nothing of a batch counts as handed over, and it is tried again, and kept on disk, like any other. The SDK's
emitter resolves a name for every datagram, knows IPv4 only, and forgets what a full buffer did not take.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from server_tracing import unpatched
from server_tracing.daemon_address import DaemonAddress, Place
from server_tracing.export.exporter import ExportError
from server_tracing.record import Record

from . import burst
from .transport import Sheet

HEADER = b'{"format":"json","version":1}\n'
RESOLVED_FOR = 60.0  # seconds
# Datagrams and bytes, and seconds after them: a receive buffer of Linux's default size holds some 90 small
# datagrams, and what finds no room is gone without a word. With these pauses the daemon may sleep for 12 ms.
BURST, BYTES, PAUSE = 32, 32 << 10, 4e-3
FULL_WAITS = (0.001, 0.01, 0.1, 0.5)  # seconds, for a full buffer to empty
NOBODY = (errno.ECONNREFUSED,)
FULL = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)
ECHO = 0.3  # seconds in which a host says that nobody listens

REMEDY = 'start the X-Ray daemon there, or send without one: xray.transport = "api"'


class Datagrams:
    """The way to one daemon. All of it is called by one thread."""

    def __init__(
        self,
        address: DaemonAddress,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = unpatched.sleep,
        resolve: Callable[[str, int], Sequence[Any]] = unpatched.addresses,
        new_socket: Callable[..., Any] = unpatched.socket,
    ) -> None:
        self.place = f"the X-Ray daemon at {address.udp}"
        self._udp, self._tcp = address
        self._clock = clock
        self._sleep = sleep
        self._resolve = resolve
        self._new_socket = new_socket
        self._socket: Any = None
        self._together = False  # whether the kernel takes a burst in one call
        self._places: list[tuple[int, Any]] = []  # families and addresses, the one in use first
        self._fresh_until = 0.0

    def deliver(self, records: Sequence[Record], documents: Callable[[Record], Sequence[Sheet]]) -> None:
        """Hand the documents of all records over, with pauses in which the daemon can read."""
        self._open()
        waiting: list[bytes] = []
        first = size = 0
        for place, record in enumerate(records):
            for sheet in documents(record):
                first = first if waiting else place
                waiting.append(HEADER + sheet.data)
                size += len(sheet.data)
                if len(waiting) >= BURST or size >= BYTES:
                    self._hand_over(waiting, records, first)
                    self._sleep(PAUSE)
                    waiting, size = [], 0
        self._hand_over(waiting, records, first)
        self._hear(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _hand_over(self, datagrams: list[bytes], records: Sequence[Record], first: int) -> None:
        """A burst, in one call where that can be; a full buffer is waited for."""
        waits = iter(FULL_WAITS)
        while datagrams:
            together = self._together and burst.fit(datagrams)
            try:
                if together:
                    burst.send(self._socket, datagrams)
                    return
                self._socket.send(datagrams[0])
                del datagrams[0]
            except OSError as error:
                if together and error.errno in burst.REFUSED:
                    self._together = False
                elif error.errno not in FULL:
                    self._hear(error.errno or errno.EIO)
                elif (wait := next(waits, None)) is not None:
                    self._sleep(wait)
                else:
                    message = f"the socket to {self.place} is full"
                    raise ExportError(message, remaining=records[first:], reason="socket_full") from None

    def _hear(self, code: int) -> None:
        """What the kernel says of what was sent before: then none of it can be trusted to have arrived."""
        if code == 0:
            return
        self._places.append(self._places.pop(0))  # a name may stand for several addresses
        self.close()
        if code in NOBODY:
            raise ExportError(f"nobody listens at {self._udp} (UDP)", reason="unreachable", remedy=REMEDY)
        said = errno.errorcode.get(code, str(code))
        raise ExportError(f"{self.place} cannot be reached ({said})", reason="unreachable", remedy=REMEDY)

    # ------------------------------------------------------------ where it is

    def _open(self) -> None:
        """Have a socket to where the daemon is now."""
        if self._clock() >= self._fresh_until:
            self._look_up()
        if self._socket is None:
            family, address = self._places[0]
            opened = self._new_socket(family, socket.SOCK_DGRAM)
            opened.setblocking(False)
            try:
                opened.connect(address)
            except OSError as error:
                opened.close()
                self._hear(error.errno or errno.EIO)
            self._socket, self._together = opened, burst.supported(opened)

    def _look_up(self) -> None:
        try:
            found = [(one[0], one[4]) for one in self._resolve(*self._udp)]
        except (OSError, UnicodeError) as error:
            if not self._places:
                raise ExportError(
                    f"the X-Ray daemon's host {self._udp.host!r} cannot be found: {_said(error)}",
                    reason="unreachable",
                    remedy="correct xray.daemon_address, or the resolver",
                ) from None
            found = self._places
        self._fresh_until = float("inf") if _is_address(self._udp.host) else self._clock() + RESOLVED_FOR
        if set(found) != set(self._places):
            self.close()
            self._places = found

    def close(self) -> None:
        """Let go of the socket; the next delivery opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # ------------------------------------------------------------ looking closely

    def probe(self, sheet: Sheet) -> str:
        """Hand one document over, and listen for whoever says that nobody is there."""
        self._open()
        self._hand_over([HEADER + sheet.data], (), 0)
        self._sleep(ECHO)
        self._hear(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        told = f"a test segment was handed over to {self.place}; by UDP nothing comes back"
        if _answers(self._tcp, self._new_socket, self._resolve):
            return f"{told}, but its TCP port {self._tcp} answers"
        raise ExportError(f"{told}, and nobody answers at its TCP port {self._tcp}", remedy=REMEDY)

    def __repr__(self) -> str:
        return f"<Datagrams to {self._udp} · {'open' if self._socket else 'closed'}>"


def _said(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _answers(
    place: Place, new_socket: Callable[..., Any], resolve: Callable[[str, int], Sequence[Any]]
) -> bool:
    """Whether somebody accepts a connection there."""
    try:
        for family, _kind, _protocol, _name, address in resolve(*place):
            tried = new_socket(family, socket.SOCK_STREAM)
            try:
                tried.settimeout(1.0)
                tried.connect(address)
            except OSError:
                continue
            else:
                return True
            finally:
                tried.close()
    except (OSError, UnicodeError):
        pass
    return False
