"""A service that drips holds the sender no longer than one that says nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from server_tracing.export.azure.wire import UnreachableError, Wire

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\nX-Long: " + b"y" * 2000 + b"\r\n\r\n"
ANSWER = HEAD + b"x" * 2000


@contextlib.contextmanager
def answering(*parts: bytes, pause: float) -> Iterator[str]:
    """A service that answers in these parts; its address."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            while connection.recv(65536):
                for part in parts:
                    connection.sendall(part)
                    if over.wait(pause):
                        return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("at_once", [0, len(HEAD)])
def test_an_answer_is_complete_in_time_or_none(at_once):
    """Its head or its body, byte by byte, each of them long before a socket would lose patience."""
    parts = [ANSWER[:at_once], *(bytes([byte]) for byte in ANSWER[at_once:])]
    wire = Wire(0.5)
    with answering(*parts, pause=0.02) as url:
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=r"did not answer within 0\.5 s"):
            wire.post(url, b"", {})
        assert time.monotonic() - began < 10, "the whole of it takes forty seconds"
        wire.close()


def test_every_answer_has_all_the_time_again():
    """Over the same connection, whatever the one before has left of its own."""
    wire = Wire(20.0)
    with answering(ANSWER[:9], ANSWER[9:], pause=0.05) as url:
        for _ in range(3):
            assert wire.post(url, b"", {}).body == b"x" * 2000
        assert wire.opened == 1
        wire.close()
