"""What the tests of uvicorn share: what the version under test can do, and asking one thing at a time."""

from __future__ import annotations

import functools
import itertools
import json
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from http.client import HTTPResponse, IncompleteRead
from typing import Any, NamedTuple

from harness import PYTHON, Server, connect, environment, records, start, wait_until

PROBE = """
import importlib.util, json, uvicorn
from uvicorn.config import HTTP_PROTOCOLS, WS_PROTOCOLS
version = tuple(int(part) for part in uvicorn.__version__.split(".")[:2])
have = lambda name: importlib.util.find_spec(name) is not None
http = [name for name in HTTP_PROTOCOLS if name != "auto" and have(name)]
ws = [name for name in WS_PROTOCOLS if name not in ("auto", "none") and have(name.partition("-")[0])]
print(json.dumps({"version": version, "http": http, "ws": ws}))
"""
APP = "uvicorn_app:app"


@functools.cache
def uvicorn() -> dict[str, Any]:
    """Version and implementations of the uvicorn under test."""
    answer = subprocess.run([PYTHON, "-c", PROBE], capture_output=True, env=environment({}), check=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def has_protocol_door() -> bool:
    """Whether `--http` takes an import string."""
    return tuple(uvicorn()["version"]) >= (0, 38)


def serve(
    *options: str, door: str = "factory", env: Mapping[str, str] | None = None, app: str = APP
) -> Server:
    """uvicorn behind one of our doors."""
    if door == "protocol":
        return start(["uvicorn", "--http", "server_tracing.uvicorn:Protocol", *options, app], env=env)
    argv = ["uvicorn", "--factory", "server_tracing.uvicorn:create_app", *options]
    return start(argv, env={"SERVER_TRACING_APP": app, **(env or {})})


class Answer(NamedTuple):
    """What a client saw."""

    status: int
    body: bytes
    headers: dict[str, str]


class Client:
    """Asks a server for things, each under a query of its own, and finds the record of each."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.asked: list[str] = []
        self._numbers = itertools.count(1)

    def mark(self, path: str) -> str:
        """The path with a query that no other request has."""
        self.asked.append(f"n={next(self._numbers)}")
        return f"{path}?{self.asked[-1]}"

    def send(
        self, method: str, path: str, *headers: str, body: bytes = b"", close: bool = True
    ) -> socket.socket:
        """Send a request on a connection of its own."""
        lines = [f"{method} {self.mark(path)} HTTP/1.1", "Host: shop.test:80", *headers]
        lines += ["Connection: close"] if close else []
        connection = connect(self.server.address)
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return connection

    def get(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> Answer:
        """What comes back, as far as it comes."""
        with self.send(method, path, *headers, body=body) as connection:
            response = HTTPResponse(connection, method=method)
            response.begin()
            try:
                received = response.read()
            except IncompleteRead as cut:
                received = cut.partial
            return Answer(response.status, received, dict(response.headers))

    def record(self, query: str | None = None) -> dict[str, Any]:
        """The record of the request asked last, or of another; there may only be one."""
        wanted = query or self.asked[-1]

        def found() -> list[dict[str, Any]]:
            return [one for one in records(self.server.state_dir) if one.get("query") == wanted]

        (record,) = wait_until(found)
        return record


def reset(connection: socket.socket) -> None:
    """Leave without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def chunked(parts: Sequence[bytes]) -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))
