"""The demonstration's stage: a gunicorn of its own in a temporary folder, and what visitors do to it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

OURS = ("SERVER_TRACING_", "GUNICORN_", "AWS_XRAY_", "OTEL_", "WEB_CONCURRENCY")  # nothing set may matter
PATIENCE = 45.0  # seconds for anything that is waited for
CONFIGURATION = """\
# The shop has a gunicorn.conf.py of its own, and it still counts.
workers = 2
threads = 4
timeout = 60
control_socket_disable = True  # the default one may belong to another gunicorn; unknown before 25.1
"""


class DemoError(Exception):
    """One sentence: why the demonstration cannot go on."""


class Stage:
    """The shop under gunicorn, recorded; all its files stand in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.till = folder / "till"
        self.log = folder / "gunicorn.log"
        self.port = 0
        self.server: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Start the shop, and return when it has answered."""
        os.mkfifo(self.till)
        (self.folder / "gunicorn.conf.py").write_text(CONFIGURATION)
        with socket.create_server(("127.0.0.1", 0)) as listener, self.log.open("wb") as log:
            self.port = listener.getsockname()[1]
            self.server = subprocess.Popen(
                self.command(f"fd://{listener.fileno()}"),
                pass_fds=[listener.fileno()],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self.visit("/") != 200:
            raise DemoError(f"the shop did not open; gunicorn says:\n{self.log.read_text()}")

    def command(self, bind: str) -> list[str]:
        """gunicorn as anybody would start it, with our `-c`."""
        door = ["-c", "python:server_tracing.gunicorn"]
        return [sys.executable, "-m", "gunicorn", *door, "--bind", bind, "server_tracing.demo.shop:app"]

    def environment(self) -> dict[str, str]:
        """What the shop and the commands run with: today's environment without settings of ours."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        clone = Path(__file__).resolve().parents[2]
        if (clone / "pyproject.toml").exists():  # may be run without being installed
            kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(clone), kept.get("PYTHONPATH")]))
        return {
            **kept,
            "SHOP_TILL": str(self.till),
            "SERVER_TRACING_DIR": str(self.state),
            "SERVER_TRACING_JOURNAL_DIR": str(self.folder / "journals"),
            "SERVER_TRACING_SERVICE": "shop",
        }

    def visit(self, path: str) -> int:
        """The status a visitor gets; 0 when the connection ends without an answer."""
        visitor = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(visitor), contextlib.suppress(OSError, HTTPException):
            visitor.request("GET", path, headers={"User-Agent": "visitor"})
            response = visitor.getresponse()
            response.read()
            return response.status
        return 0

    def mumble(self) -> int:
        """The status of a request that is not HTTP: a space in the name of a header."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as visitor:
            visitor.sendall(b"GET /products/1 HTTP/1.1\r\nHost: shop\r\nbad header: 1\r\n\r\n")
            status_line = visitor.makefile("rb").readline().split()
        return int(status_line[1]) if len(status_line) > 1 else 0

    def kill_who_waits_at_the_till(self) -> int:
        """Wait until a worker says that it serves a checkout, kill it with SIGKILL, return its pid."""
        pipe = os.open(self.till, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not select.select([pipe], [], [], PATIENCE)[0]:
                raise DemoError("no worker came to the till")
            worker = int(os.read(pipe, 32))
        finally:
            os.close(pipe)
        os.kill(worker, signal.SIGKILL)
        return worker

    def tracing(self, *arguments: str) -> list[str]:
        """A `server-tracing` command line, for this shop's records."""
        return [sys.executable, "-m", "server_tracing.cli", *arguments]

    def records(self, *filters: str) -> list[dict[str, Any]]:
        """What `server-tracing requests --json` prints now."""
        command = self.tracing("requests", "--json", "--limit", "10000", *filters)
        answer = subprocess.run(command, env=self.environment(), capture_output=True, check=False)
        return [json.loads(line) for line in answer.stdout.splitlines()]

    def show(self, *arguments: str) -> None:
        """Run a command as the reader would, and let it print."""
        print(f"\n$ server-tracing {shlex.join(arguments)}", flush=True)
        subprocess.run(self.tracing(*arguments), env=self.environment(), check=False)

    def close(self) -> None:
        """Stop the shop."""
        if self.server is None:
            return
        self.server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.server.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)  # a session of its own: nobody else's processes
        self.server.wait()


def until(found: Callable[[], Any], sentence: str) -> Any:
    """What `found` returns once that is something; DemoError with the sentence if it never is."""
    for _ in ticks(PATIENCE):
        if result := found():
            return result
    raise DemoError(sentence)


def ticks(seconds: float, pause: float = 0.2) -> Iterator[None]:
    """Come round every now and then, until the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)
