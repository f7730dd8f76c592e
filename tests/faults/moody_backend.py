"""The stand-in for an ingestion service, as tests have it: started, calmed down, and asked what it took."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import moody_service
from harness import wait_until
from moody_service import CERTIFICATE, EVERYTHING, Script

__all__ = ["CERTIFICATE", "EVERYTHING", "Ingestion", "Script", "Taken"]


class Taken(NamedTuple):
    """A record as the service knows it."""

    number: int
    id: str


class Ingestion:
    """The service, running; leaving the `with` block ends it."""

    def __init__(self, folder: Path, script: Script) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        command = [sys.executable, moody_service.__file__, str(folder), json.dumps(script._asdict())]
        self._process = subprocess.Popen(command)
        self.port = int(wait_until(lambda: self._text("port")))
        self.url = f"{'https' if script.tls else 'http'}://127.0.0.1:{self.port}"

    def _text(self, file: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / file).read_text()
        return ""

    def calm_down(self) -> None:
        """From now on it takes everything at once."""
        self._process.send_signal(signal.SIGUSR1)
        wait_until(lambda: self._text("calm"))

    @property
    def taken(self) -> list[Taken]:
        """All that it took, in order; what it was sent twice, twice."""
        return list(self._lines("taken"))

    @property
    def refused(self) -> list[Taken]:
        """What it refused for good."""
        return list(self._lines("refused"))

    @property
    def moods(self) -> Counter[str]:
        """How often it was in which mood."""
        return Counter(self._text("moods").splitlines())

    def _lines(self, file: str) -> Iterator[Taken]:
        for line in self._text(file).splitlines():
            number, _, name = line.partition(" ")
            yield Taken(int(number), name)

    def __enter__(self) -> Ingestion:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
