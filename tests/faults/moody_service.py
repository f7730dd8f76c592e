"""A stand-in for an ingestion service on loopback: misbehaves by a seeded script, remembers what it took.

It is a process of its own, so that nothing it does costs those it is to hold up. What it took, and what it
refused for good, stands in `taken` and `refused` in its folder: a line for each record, with the number that
the client put into the request's path (0: it is no request) and the record's id (of an event its name).
Bodies are JSON, gzipped or not: those of the `posting` exporter, or of Application Insights.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import re
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CERTIFICATE = str(Path(__file__).with_name("loopback.pem"))  # of 127.0.0.1, with its key, for a hundred years
NUMBER = re.compile(r"/r/(\d+)")
HELD = 20.0  # seconds for which a connection that hangs is held
STEP = 0.05


class Script(NamedTuple):
    """How it behaves. Moods are cards of which so many are in the pack: one is drawn for each request, and a
    pack that is used up is shuffled again, so that each has its turn soon."""

    seed: int = 1
    moods: Mapping[str, int] = {"take": 1}
    away: Sequence[tuple[float, float]] = ()  # (seconds after the first connection, for how long)
    rate: float = 0.0  # records a second; 0: all there are
    tls: bool = False


class Gone(Exception):  # noqa: N818 - no error, it is what it does
    """The connection is not to be used any more."""


class Service:
    """Accepts connections, a thread for each. Shared, and used under `_lock`: dice, files, and its time."""

    def __init__(self, folder: Path, script: Script) -> None:
        self._script = script
        self._dice = random.Random(script.seed)
        self._moods = [mood for mood, many in script.moods.items() for _ in range(many)]
        self._pack: list[str] = []
        names = ("taken", "refused", "moods")
        self._files = {name: (folder / name).open("ab", buffering=0) for name in names}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._first = 0.0  # when the first connection came
        self._free = 0.0  # when it has time for the next records
        self.calm = False
        self._listening = self._listen(0)
        self._port = self._listening.getsockname()[1]
        (folder / "port.new").write_text(str(self._port))
        (folder / "port.new").rename(folder / "port")

    def _listen(self, port: int) -> socket.socket:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(100)
        listening.settimeout(STEP)
        return listening

    def run(self) -> None:
        """Until it is killed."""
        while True:
            if self._is_away():
                self._disappear()
            with contextlib.suppress(TimeoutError, ConnectionError):
                connection, _ = self._listening.accept()
                self._first = self._first or time.monotonic()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _is_away(self) -> bool:
        since = time.monotonic() - self._first if self._first else -1.0
        return not self.calm and any(start <= since < start + long for start, long in self._script.away)

    def _disappear(self) -> None:
        self._listening.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                abandon(connection).shutdown(socket.SHUT_RDWR)
        while self._is_away():
            time.sleep(STEP)
        self._listening = self._listen(self._port)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(HELD)
        with connection, contextlib.suppress(Gone, OSError, ValueError), self._greet(connection) as secure:
            self._open.add(secure)
            try:
                while True:
                    self._answer(secure)
            finally:
                self._open.discard(secure)

    def _greet(self, connection: socket.socket) -> socket.socket:
        if not self._script.tls:
            return connection
        if self._draw(greeting=True) == "tls":
            connection.sendall(self._dice.randbytes(100))
            raise Gone
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        return context.wrap_socket(connection, server_side=True)

    def _draw(self, *, greeting: bool = False) -> str:
        with self._lock:
            if not self._pack:
                self._pack = self._dice.sample(self._moods, len(self._moods))
            if self.calm or (greeting and self._pack[-1] != "tls"):
                return "take"
            if self._pack[-1] == "tls" and not greeting:
                raise Gone  # it fails where a connection begins: let there be a new one
            self._files["moods"].write(self._pack[-1].encode() + b"\n")
            return self._pack.pop()

    def _answer(self, connection: socket.socket) -> None:
        head = read_head(connection)
        mood = self._draw()
        if mood == "hang":
            time.sleep(HELD)
            raise Gone
        if mood == "reset in the request":
            abandon(connection)
            raise Gone
        MOODS[mood](self, connection, read_body(connection, *head))

    # ------------------------------------------------------------ what it does with a request

    def take(self, connection: socket.socket, body: bytes) -> None:
        """As it should be."""
        records = self._note("taken", body)
        self._take_its_time(records)
        respond(connection, 200, accepted(records))

    def _note(self, file: str, body: bytes) -> int:
        items = items_in(body)
        told = b"".join(b"%d %s\n" % identity(item) for item in items)
        with self._lock:
            self._files[file].write(told)
        return len(items)

    def _take_its_time(self, records: int) -> None:
        if self._script.rate and not self.calm:
            with self._lock:
                self._free = max(self._free, time.monotonic()) + records / self._script.rate
                wait = self._free - time.monotonic()
            time.sleep(wait)

    def take_and_reset(self, connection: socket.socket, body: bytes) -> None:
        """It is taken, but nobody will know."""
        self._note("taken", body)
        abandon(connection).sendall(b"HTTP/1.1 200 O")
        raise Gone

    def drip(self, connection: socket.socket, body: bytes) -> None:
        """It is taken; the answer takes longer than anybody's patience."""
        for byte in response(200, accepted(self._note("taken", body))):
            connection.sendall(bytes([byte]))
            time.sleep(1.0)
        raise Gone

    def garbage(self, connection: socket.socket, body: bytes) -> None:
        """Not taken, not even refused."""
        connection.sendall(self._dice.randbytes(200))
        raise Gone

    def refuse(self, connection: socket.socket, body: bytes) -> None:
        """For good."""
        respond(connection, 400, refused(self._note("refused", body)))

    def too_large(self, connection: socket.socket, body: bytes) -> None:
        """More than one record is."""
        if len(items_in(body)) > 1:
            respond(connection, 413, b"")
        else:
            self.take(connection, body)


def status(code: int, *headers: str) -> Callable[[Service, socket.socket, bytes], None]:
    """Answers so, and takes nothing."""
    return lambda _service, connection, _body: respond(connection, code, b"", *headers)


def nothing(_service: Service, _connection: socket.socket, _body: bytes) -> None:
    """These never come as far as a body."""
    raise Gone


MOODS: dict[str, Callable[[Service, socket.socket, bytes], None]] = {
    "take": Service.take,
    "tls": nothing,
    "hang": nothing,
    "reset in the request": nothing,
    "reset in the answer": Service.take_and_reset,
    "drip": Service.drip,
    "garbage": Service.garbage,
    "refuse": Service.refuse,
    "408": status(408),
    "413": Service.too_large,
    "429": status(429, "Retry-After: 1"),
    "500": status(500),
    "503": status(503, "Retry-After: 2"),
}
EVERYTHING = dict.fromkeys(MOODS, 1) | {"take": 10}


def items_in(body: bytes) -> list[dict[str, Any]]:
    """Lines of JSON, or a list."""
    return json.loads(body) if body.startswith(b"[") else [json.loads(line) for line in body.splitlines()]


def identity(item: dict[str, Any]) -> tuple[int, bytes]:
    """The client's number and the id of a record; of an event, what it was."""
    data = item.get("data", {}).get("baseData", {})
    name = item.get("id") or data.get("id")
    number = NUMBER.search(json.dumps(item)) if name else None
    return int(number[1]) if number else 0, str(name or item.get("event") or data.get("name")).encode()


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head of a request, and what came with it of its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            raise Gone
        received += more
    head, _, rest = received.partition(b"\r\n\r\n")
    return head.lower(), rest


def read_body(connection: socket.socket, head: bytes, rest: bytes) -> bytes:
    """The body of a request, in plain."""
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    while len(rest) < length:
        more = connection.recv(1 << 20)
        if not more:
            raise Gone
        rest += more
    return gzip.decompress(rest) if b"content-encoding: gzip" in head else rest


def response(code: int, body: bytes, *headers: str) -> bytes:
    """The bytes of an answer."""
    length = f"Content-Length: {len(body)}"
    lines = [f"HTTP/1.1 {code} So", "Content-Type: application/json", length, *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def respond(connection: socket.socket, code: int, body: bytes, *headers: str) -> None:
    """Answer."""
    connection.sendall(response(code, body, *headers))


def accepted(records: int) -> bytes:
    """As Application Insights says it."""
    return json.dumps({"itemsReceived": records, "itemsAccepted": records, "errors": []}).encode()


def refused(records: int) -> bytes:
    """As Application Insights says it."""
    errors = [{"index": at, "statusCode": 400, "message": "no"} for at in range(records)]
    return json.dumps({"itemsReceived": records, "itemsAccepted": 0, "errors": errors}).encode()


def abandon(connection: socket.socket) -> socket.socket:
    """When it is closed, it will be reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return connection


def main(folder: Path, settings: dict[str, Any]) -> None:
    """The process."""
    service = Service(folder, Script(**settings))

    def calm_down(*_signal: object) -> None:
        service.calm = True
        (folder / "calm").write_text("calm")

    signal.signal(signal.SIGUSR1, calm_down)
    service.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
