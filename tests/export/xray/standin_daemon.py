"""A stand-in for the X-Ray daemon: reads as fast as it can, and holds all to the schema when asked."""

from __future__ import annotations

import socket
import threading
from typing import Any

from segment_schema import checked

HEADER = b'{"format":"json","version":1}'
MARK = b"all that was before this has been read"
WAIT = 30.0  # seconds


class Daemon:
    """Listens on a UDP port, and with `tcp` on the TCP port of the same number."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, tcp: bool = False) -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._udp, self._tcp = self._both(host) if tcp else (self._bound(host, port), None)
        self.port = self._udp.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._datagrams: list[bytes] = []
        self._marks = 0
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _bound(self, host: str, port: int) -> socket.socket:
        bound = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            bound.bind((host, port))
        except OSError:
            bound.close()
            raise
        return bound

    def _both(self, host: str) -> tuple[socket.socket, socket.socket]:
        """A port that is free by TCP and by UDP."""
        while True:
            tcp = socket.create_server((host, 0), family=self._family)
            try:
                return self._bound(host, tcp.getsockname()[1]), tcp
            except OSError:
                tcp.close()

    def _read(self) -> None:
        while datagram := self._udp.recv(65536):
            with self._arrived:
                if datagram == MARK:
                    self._marks -= 1
                else:
                    self._datagrams.append(datagram)
                self._arrived.notify_all()

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """The documents, as soon as there are so many."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._datagrams) >= count, WAIT)
            assert len(self._datagrams) >= count, f"{len(self._datagrams)} of {count}"
        return self._documents()

    def settled(self) -> list[dict[str, Any]]:
        """All documents that were sent before."""
        with self._arrived:
            self._marks += 1
            self._say(MARK)
            assert self._arrived.wait_for(lambda: not self._marks, WAIT)
        return self._documents()

    def _documents(self) -> list[dict[str, Any]]:
        return [checked(document(datagram)) for datagram in self._datagrams]

    def _say(self, datagram: bytes) -> None:
        with socket.socket(self._family, socket.SOCK_DGRAM) as own:
            own.sendto(datagram, self._udp.getsockname())

    def close(self) -> None:
        """Hear the end, and stop listening."""
        self._say(b"")
        self._thread.join(WAIT)
        self._udp.close()
        if self._tcp is not None:
            self._tcp.close()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def document(datagram: bytes) -> bytes:
    """What stands behind the header."""
    header, _, found = datagram.partition(b"\n")
    assert header == HEADER, header
    return found
