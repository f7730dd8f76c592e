"""Clients that count for themselves: numbered requests, each sent to a traced and to an untraced server.

They are processes of their own, so that no client waits for another one's interpreter. Every answer is
compared with that of the untraced server, byte for byte but for the date; a client that got another one, or
none, has seen an error. Which server comes first changes with every request.
"""

from __future__ import annotations

import json
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DATE = re.compile(rb"\r\nDate: [^\r]*")
TIMEOUT = 60.0  # seconds; what takes longer is an error
PAUSE = 0.002  # seconds between requests: the servers are busy, not flooded


class Tallied(NamedTuple):
    """What all clients saw."""

    requests: int
    errors: list[str]
    traced: list[float]  # seconds, in order of length
    untraced: list[float]

    def percentile(self, which: int) -> tuple[float, float]:
        """Milliseconds, of the traced requests and of the others."""
        traced, untraced = (statistics.quantiles(taken, n=100) for taken in (self.traced, self.untraced))
        return traced[which - 1] * 1000, untraced[which - 1] * 1000

    def added(self, which: int) -> float:
        """Milliseconds that this percentile of the traced requests took longer than that of the others."""
        traced, untraced = self.percentile(which)
        return traced - untraced

    def told(self, which: int) -> str:
        """The same in words."""
        traced, untraced = self.percentile(which)
        return f"p{which} {traced:.1f} ms, untraced {untraced:.1f} ms"


def send(traced: int, untraced: int, requests: int, clients: int, folder: Path) -> Tallied:
    """`requests` to either port, from so many clients at once."""
    share = requests // clients
    running = []
    for client in range(clients):
        told = [traced, untraced, 1 + client * share, share]
        command = [sys.executable, __file__, *map(str, told), str(folder / f"client-{client}")]
        running.append(subprocess.Popen(command))
    assert [client.wait() for client in running] == [0] * clients
    return gather([folder / f"client-{client}" for client in range(clients)])


def gather(files: Sequence[Path]) -> Tallied:
    """The sum of what they saw."""
    seen = [json.loads(file.read_text()) for file in files]
    traced, untraced = (sorted(time for one in seen for time in one[key]) for key in ("traced", "untraced"))
    return Tallied(len(traced), [error for one in seen for error in one["errors"]], traced, untraced)


# ---------------------------------------------------------------- one client


def ask(port: int, number: int) -> tuple[bytes, float]:
    """The answer, but for its date, and how long it took; what went wrong, if something did."""
    start = time.perf_counter()
    try:
        answer = exchange(port, b"GET /r/%d HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" % number)
    except OSError as error:
        answer = f"{type(error).__name__}: {error}".encode()
    return DATE.sub(b"", answer), time.perf_counter() - start


def exchange(port: int, sent: bytes) -> bytes:
    """What comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.sendall(sent)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def main(traced: int, untraced: int, first: int, requests: int, file: Path) -> None:
    """One client's requests, the numbers from `first` on."""
    ports, seen, errors = (traced, untraced), ([], []), []
    for number in range(first, first + requests):
        answers = [b"", b""]
        for server in (0, 1) if number % 2 else (1, 0):
            answers[server], taken = ask(ports[server], number)
            seen[server].append(taken)
        if answers[0] != answers[1] or not answers[0].startswith(b"HTTP/1.1 "):
            errors.append(f"{number}: {answers[0]!r} where the untraced server says {answers[1]!r}")
        time.sleep(PAUSE)
    file.write_text(json.dumps({"traced": seen[0], "untraced": seen[1], "errors": errors}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]), Path(sys.argv[5]))
