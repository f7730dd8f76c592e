"""One JSON object per line: to a file that is rotated by size, or to standard output ("-").

The [jsonl] table says where (`path`), and from which size on (`max_size`) the file becomes `<path>.1`.
Several workers append to the same file: a batch is one write, and whoever finds it too large rotates it
under a lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from server_tracing.record import Record
from server_tracing.statedir import StateDirError, ensure_private_dir

from .exporter import ExportError, Setup

MAX_SIZE = 64 << 20
_encode = msgspec.json.Encoder().encode


class JsonLinesExporter:
    """Appends lines for programs."""

    name = "jsonl"
    sampled_only = False
    max_age = 0.4

    def __init__(self, setup: Setup) -> None:
        self._state_dir = setup.state_dir
        default = os.path.join(setup.state_dir, "requests.jsonl")
        self.path = str(setup.options.get("path") or default)
        self._max_size = int(setup.options.get("max_size") or MAX_SIZE)
        self._lines = 0

    def export(self, records: Sequence[Record]) -> None:
        """Write the records, each as one line, in order."""
        data = b"".join([_encode(record) + b"\n" for record in records])
        try:
            if self.path == "-":
                _write(1, data)
            else:
                self._append(data)
        except (OSError, StateDirError) as error:
            raise ExportError(f"cannot write to {self.path}: {error}", reason="disk_error") from error
        self._lines += len(records)

    def _append(self, data: bytes) -> None:
        if os.path.dirname(self.path) == self._state_dir:
            ensure_private_dir(self._state_dir)
        file = self._open()
        try:
            size = os.fstat(file).st_size
            if size and size + len(data) > self._max_size:
                os.rename(self.path, f"{self.path}.1")
                os.close(file)
                file = self._open()
            _write_whole(file, data)
        finally:
            os.close(file)

    def _open(self) -> int:
        """The file, locked; not one that another worker has rotated away meanwhile."""
        while True:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(self.path, flags, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file).st_ino == os.stat(self.path).st_ino:
                    return file
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def __repr__(self) -> str:
        return f"<JsonLinesExporter {self.path} · {self._lines} lines written>"


def _write_whole(file: int, data: bytes) -> None:
    """All of it or, on a disk that is full, nothing: it comes again, and half a line is nobody's record."""
    size = os.fstat(file).st_size
    try:
        _write(file, data)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
