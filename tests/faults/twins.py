"""Two servers that are the same but that one of them is traced, asked the same things at the same time."""

from __future__ import annotations

import contextlib
import difflib
import re
import selectors
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import REPOSITORY, Server, start, wait_until

HERE = Path(__file__).parent
DATE = re.compile(rb"(?i)\r\ndate: [^\r]*")
QUIET = 0.1  # seconds in which neither says anything more, when both have said the same
LIMIT = 10.0  # seconds that one of them may be behind with its answer
PATIENCE = 5.0  # the same, with what its application sees afterwards
CHANCES = 4
PAUSE = 0.01  # between the parts of a request


class Difference(AssertionError):  # noqa: N818 - as AssertionError, it is a finding
    """What one of them did and the other did not."""


class Twins:
    """Two servers; leaving the `with` block ends them, and compares what their applications saw at last."""

    def __init__(
        self, traced: Sequence[str], untraced: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        self._stack = contextlib.ExitStack()
        self.traced = self._stack.enter_context(self._start(traced, env or {}))
        self.untraced = self._stack.enter_context(self._start(untraced, {}))
        self._known = [0, 0]  # characters of what they saw that were compared already
        self.asked = 0

    def _start(self, argv: Sequence[str], env: Mapping[str, str]) -> Server:
        watched = {"WATCHED": "{root}/watched", "PYTHONPATH": f"{REPOSITORY}:{HERE}"}
        return start(argv, env={**env, **watched}, until=begins_to_serve)

    @property
    def servers(self) -> tuple[Server, Server]:
        """Both, the traced one first."""
        return self.traced, self.untraced

    def ask(self, *parts: bytes) -> None:
        """Send both of them the same, in these parts; what comes of it may not differ. It may once or twice:
        even one server does not always notice in the same order what happens to it at the same time."""
        self.asked += 1
        for _ in range(CHANCES - 1):
            with contextlib.suppress(Difference):
                return self._ask(parts)
        return self._ask(parts)

    def _ask(self, parts: Sequence[bytes]) -> None:
        answers = exchange([server.port for server in self.servers], parts)
        self.compare(parts)
        if answers[0] != answers[1]:
            raise Difference(f"{parts} is answered\n{answers[0]!r} instead of\n{answers[1]!r}")

    def compare(self, parts: Sequence[bytes] = ()) -> None:
        """What both applications have seen since the last time is the same."""
        seen = ["", ""]

        def same() -> bool:
            known = zip(self.servers, self._known, strict=True)
            seen[:] = [watched(server)[already:] for server, already in known]
            return seen[0] == seen[1]

        try:
            wait_until(same, PATIENCE)
        except AssertionError:
            lines = difflib.ndiff(*(one.splitlines() for one in seen))
            different = "\n".join(line for line in lines if line[0] != " ")
            raise Difference(f"{parts}: with us (-) and without (+)\n{different}") from None
        finally:
            self._known = [known + len(new) for known, new in zip(self._known, seen, strict=True)]

    def __enter__(self) -> Twins:
        return self

    def __exit__(self, failure: object, *exc: object) -> None:
        with self._stack:
            if failure is None:
                codes = [server.stop(signal.SIGTERM) for server in self.servers]
                assert codes[0] == codes[1]
                self.compare()


def begins_to_serve(server: Server) -> bool:
    """Whether it listens; it is not asked anything, or the applications would have seen different things."""
    assert server.process.poll() is None, server.log()
    listening = f"0100007F:{server.port:04X} 00000000:0000 0A"
    return listening in Path("/proc/net/tcp").read_text()


def watched(server: Server) -> str:
    """What its application wrote down."""
    with contextlib.suppress(FileNotFoundError):
        return (server.root / "watched").read_text()
    return ""


def exchange(ports: Sequence[int], parts: Sequence[bytes]) -> list[bytes]:
    """What each answers, but for the date, until all have closed or say nothing more."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(port)) for port in ports]
        for part in parts:
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.sendall(part)
            if part is not parts[-1]:
                time.sleep(PAUSE)
        return listen(connections)


def connected(port: int) -> socket.socket:
    """A connection on which every part goes out at once."""
    connection = socket.create_connection(("127.0.0.1", port), LIMIT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def listen(connections: Sequence[socket.socket]) -> list[bytes]:
    """Everything they say."""
    answers = dict.fromkeys(connections, b"")
    started = lately = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() - started < LIMIT:
            for key, _ in selector.select(QUIET / 3):
                lately = time.monotonic()
                part = received(key.fileobj)
                answers[key.fileobj] += part
                if not part:
                    selector.unregister(key.fileobj)
            said = [DATE.sub(b"", answer) for answer in answers.values()]
            if time.monotonic() - lately > QUIET and len(set(said)) == 1:
                break
    return [DATE.sub(b"", answer) for answer in answers.values()]


def received(connection: socket.socket) -> bytes:
    """What is there; a reset is an end, too."""
    with contextlib.suppress(ConnectionError):
        return connection.recv(65536)
    return b""
