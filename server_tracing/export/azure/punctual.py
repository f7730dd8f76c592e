"""Answers that have to be complete by a deadline: the timeout of a socket begins anew with every byte that
comes, and a backend that drips one a second would hold its sender for minutes."""

from __future__ import annotations

import io
from collections.abc import Callable
from http.client import HTTPResponse
from socket import socket
from typing import Any


class PunctualResponse(HTTPResponse):
    """A response that is read no longer than until `left()` seconds are none."""

    def __init__(self, sock: socket, *arguments: Any, left: Callable[[], float], **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp.close()
        self.fp = io.BufferedReader(_Incoming(sock, left))


class _Incoming(io.RawIOBase):
    """What comes in on a socket, each time with what is left of the time."""

    def __init__(self, sock: socket, left: Callable[[], float]) -> None:
        self._socket = sock
        self._left = left
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._left()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
