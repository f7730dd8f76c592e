"""Starts real servers for the tests: a free port, an own state directory, and nothing left running behind.

`start(["gunicorn", ...])` runs that module with the interpreter under test (SERVER_TRACING_TEST_PYTHON, else
the one that runs the tests), binds it to a port nobody else can be given, and returns once it accepts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from server_tracing.store.file import FILE, StoreError
from server_tracing.store.view import View

PYTHON = os.environ.get("SERVER_TRACING_TEST_PYTHON", sys.executable)
REPOSITORY = Path(__file__).resolve().parents[2]
APPS = Path(__file__).resolve().parent
FAULTS = REPOSITORY / "tests" / "faults"  # has applications too
FOREIGN = ("SERVER_TRACING_", "GUNICORN_", "UVICORN_", "AWS_XRAY_", "OTEL_", "APPLICATIONINSIGHTS_", "WEB_")
START_LIMIT = 30.0  # seconds; two shared cores start slowly
BIND = {"gunicorn": ["-b", "127.0.0.1:{port}"], "uvicorn": ["--host", "127.0.0.1", "--port", "{port}"]}

Value = TypeVar("Value")
Address = tuple[str, int] | str


def wait_until(ready: Callable[[], Value], timeout: float = 10.0) -> Value:
    """Ask until the answer is true, and give it back."""
    deadline = time.monotonic() + timeout
    while not (answer := ready()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {ready!r} is still {answer!r}")
        time.sleep(0.02)
    return answer


def reserve_port() -> socket.socket:
    """A bound socket that never listens: servers may bind the same port, nobody else is given it."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def connect(address: Address, timeout: float = 10.0, tls: bool = False) -> socket.socket:
    """A connection to a TCP address or to the path of a unix socket."""
    if isinstance(address, str):
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(timeout)
        plain.connect(address)
        return plain
    plain = socket.create_connection(address, timeout)
    if not tls:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def talk(address: Address, sent: bytes, timeout: float = 10.0, tls: bool = False) -> bytes:
    """Send these bytes on a new connection and return what comes back until it is closed."""
    with connect(address, timeout, tls) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        return read_all(connection)


def get(path: str = "/", *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """The bytes of one HTTP/1.1 request after which the server closes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def status_of(response: bytes) -> int:
    """The status of a response's first line; 0 when there is none."""
    parts = response.split(b" ", 2)
    return int(parts[1]) if len(parts) > 1 else 0


def body_of(answer: bytes) -> bytes:
    """The body of a response, out of its chunks if it has any."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return rest
    body = b""
    while (size := int(rest.partition(b"\r\n")[0] or b"0", 16)) > 0:
        chunk = rest.partition(b"\r\n")[2]
        body, rest = body + chunk[:size], chunk[size + 2 :]
    return body


def records(state_dir: Path | str) -> list[dict[str, Any]]:
    """The requests in the local store as `server-tracing requests --json` shows them, in order of start."""
    try:
        view = View.open(str(Path(state_dir) / FILE))
    except (OSError, sqlite3.Error, StoreError):  # not there yet
        return []
    try:
        return sorted(
            (msgspec.to_builtins(found) for found in view.query()), key=lambda found: found["start"]
        )
    finally:
        view.close()


def events(state_dir: Path | str) -> list[str]:
    """What happened to the workers, in order."""
    view = View.open(str(Path(state_dir) / FILE))
    try:
        return [event.what for event in reversed(view.events())]
    finally:
        view.close()


def ended(state_dir: Path | str, count: int, timeout: float = 15.0) -> list[dict[str, Any]]:
    """The records once at least `count` requests have ended; fails with what there is instead."""
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        found[:] = records(state_dir)
        return len(found) >= count

    with contextlib.suppress(AssertionError):
        wait_until(enough, timeout)
    shown = [f"{one.get('path')} {one.get('status')} {one['outcome']}"[-80:] for one in found]
    assert len(found) >= count, f"{len(found)} of {count} records: {shown}"
    return found


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server: nothing of the caller's settings, the package and the apps importable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    kept["PYTHONPATH"] = os.pathsep.join(map(str, (REPOSITORY, APPS, FAULTS)))
    kept["PYTHONUNBUFFERED"] = "1"
    return {**kept, **extra}


class Server:
    """A running server; leaving the `with` block ends it and everything it started."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path | str | None, files: Mapping[str, str]
    ) -> None:
        self._port = reserve_port()
        self._directory = tempfile.TemporaryDirectory(prefix="server-tracing-", ignore_cleanup_errors=True)
        self.root = Path(self._directory.name)
        self.root.chmod(0o755)
        env = {name: self.fill(value) for name, value in env.items()}
        self.state_dir = Path(env.get("SERVER_TRACING_DIR", self.root / "state"))
        for name, text in files.items():
            (self.root / name).write_text(self.fill(text))
        self._log = self.root / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command(argv),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=cwd or self.root,
                env=environment({"HOME": str(self.root), "SERVER_TRACING_DIR": str(self.state_dir), **env}),
                start_new_session=True,
            )

    def _command(self, argv: Sequence[str]) -> list[str]:
        module, *arguments = argv
        if not any("{port}" in item for item in arguments) and module in BIND:
            arguments = [*BIND[module], *arguments]
        return [PYTHON, "-m", module, *map(self.fill, arguments)]

    def fill(self, text: str) -> str:
        """The text with `{port}` and `{root}` filled in."""
        return text.replace("{port}", str(self.port)).replace("{root}", str(self.root))

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._port.getsockname()[1])

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect."""
        return ("127.0.0.1", self.port)

    @property
    def pid(self) -> int:
        """Of the process started, gunicorn's master for one."""
        return self.process.pid

    def log(self) -> str:
        """All it has written so far."""
        return self._log.read_text(errors="replace")

    def talk(self, sent: bytes, timeout: float = 10.0, tls: bool = False) -> bytes:
        """Send these bytes on a new connection, return the answer."""
        return talk(self.address, sent, timeout, tls)

    def records(self, count: int = 1) -> list[dict[str, Any]]:
        """The ended records, oldest first, once there are at least so many."""
        return ended(self.state_dir, count)

    def stop(self, how: int = signal.SIGTERM, timeout: float = 15.0) -> int:
        """Send the signal and wait for the end; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout)

    def wait_for_log(self, text: str, timeout: float = 15.0) -> str:
        """The log once it says this."""
        wait_until(lambda: text in self.log(), timeout)
        return self.log()

    def accepts(self) -> bool:
        """Whether it takes connections; fails at once when it has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}:\n{self.log()}")
        with contextlib.suppress(OSError):
            connect(self.address, 1.0).close()
            return True
        return False

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop(timeout=5.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # also workers that lost their master
        self.process.wait()
        self._port.close()
        self._directory.cleanup()


def start(
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    until: Callable[[Server], object] = Server.accepts,
    files: Mapping[str, str] | None = None,
) -> Server:
    """Start a server in a directory of its own, which holds `files`.

    `{port}` and `{root}` (that directory) are filled in everywhere; without a bind it gets one.
    """
    server = Server(argv, env or {}, cwd, files or {})
    try:
        wait_until(lambda: until(server), START_LIMIT)
    except BaseException as failure:
        log = server.log()
        server.__exit__()
        raise AssertionError(f"{failure}\n{log}") from failure
    return server
