"""Just enough of RFC 6455, client side, to open a WebSocket, say something and close it or not."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

TEXT, CLOSE = 1, 8
MASK = b"mask"


class WebSocket:
    """A connection that has asked for an upgrade; `head` is the answer."""

    def __init__(self, connection: socket.socket, target: str, *headers: str) -> None:
        self._connection = connection
        lines = [
            f"GET {target} HTTP/1.1",
            "Host: test",
            "Connection: Upgrade",
            "Upgrade: websocket",
            *headers,
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        self._received = b""
        while b"\r\n\r\n" not in self._received and (more := connection.recv(65536)):
            self._received += more
        self.head, _, self._received = self._received.partition(b"\r\n\r\n")
        self.status = int(self.head.split(b" ")[1]) if self.head else 0

    def say(self, text: str) -> None:
        """Send a text message."""
        self._send(TEXT, text.encode())

    def hear(self) -> str:
        """The next message."""
        return next(self._frames())[1].decode()

    def close(self, code: int | None = 1000) -> None:
        """Close in order, with a code or without."""
        self._send(CLOSE, b"" if code is None else struct.pack(">H", code))
        self.closed_with()
        self._connection.close()

    def closed_with(self) -> int:
        """The code the server closes with; 1006 if the connection just ends."""
        for opcode, payload in self._frames():
            if opcode == CLOSE:
                self._answer(payload)
                return int(struct.unpack(">H", payload[:2])[0]) if payload else 1005
        return 1006

    def _answer(self, payload: bytes) -> None:
        """Close frames are echoed; then the server hangs up, and the client after it."""
        with suppress(OSError):
            self._send(CLOSE, payload)
            while self._connection.recv(65536):
                pass
        self._connection.close()

    def break_off(self) -> None:
        """Be gone, without a word."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def _send(self, opcode: int, payload: bytes) -> None:
        masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))
        self._connection.sendall(bytes((0x80 | opcode, 0x80 | len(payload))) + MASK + masked)

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while True:
            while len(self._received) < 2 or len(self._received) < 2 + self._received[1]:
                try:
                    more = self._connection.recv(65536)
                except ConnectionResetError:
                    return
                if not more:
                    return
                self._received += more
            size = self._received[1]
            opcode, payload = self._received[0] & 15, self._received[2 : 2 + size]
            self._received = self._received[2 + size :]
            yield opcode, payload


KEY = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
