"""What one backend could not take yet, on disk: bounded, private, shared by all workers with its destination.

A file is one batch, and its name says how far it is (spool_names.py): written, to be delivered, dealt with.
So a kill at any point costs no record and no count: a `.part` that its journal has acknowledged is published,
another one is thrown away (its records are still in the journal); a `.done` that its closer has counted is
thrown away, another one is counted by whoever adopts the closer's journal. Nothing is fsynced: it survives
every kill, not a power cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from server_tracing import unpatched
from server_tracing.export.pace import Pace
from server_tracing.journal import locks
from server_tracing.record import Record
from server_tracing.statedir import StateDirError, ensure_private_dir

from .parcel import Parcel, requests_in
from .spool_file import MAX_FILE, Rest, lasting, note, pack, unpack
from .spool_names import DONE, PART, SPOOL, Closed, Name, closed_by, done

FORGOTTEN = int(48 * 3600e9)  # ns


class Claimed(NamedTuple):
    """A spool file that is ours to deliver until its descriptor is closed."""

    path: str
    name: Name
    lock: int


class Spool:
    """The spool of one backend; `closer` is the journal in which this process writes down what it closes."""

    def __init__(
        self,
        folder: str,
        closer: str,
        *,
        size: int,
        age: float,
        wall: Callable[[], int] = time.time_ns,
        first_close: int = 0,
    ) -> None:
        exporter = os.path.basename(folder)
        self.name = f"{exporter.rpartition('-')[0] or exporter}'s spool"
        self.trouble = ""  # why nothing can be written here, while something is to be
        self.folder = folder
        self._closer = closer
        self._size = size
        self._age = int(age * 1e9)
        self._wall = wall
        self._lock = unpatched.lock()  # the reader trims while a sender delivers
        self._numbers = first_close
        self._closed: list[Closed] = []
        self._sealed = False

    # ------------------------------------------------------------ writing

    def write(self, records: Sequence[Record], journal: str, upto: int) -> str:
        """Write a batch as a `.part`; OSError if it cannot be. `publish` it when its journal knows."""
        try:
            part = self._write(records, journal, upto)
        except OSError as error:
            self.trouble = f"cannot be written, so that records wait in memory: {error}"
            raise
        self.trouble = ""
        return part

    def _write(self, records: Sequence[Record], journal: str, upto: int) -> str:
        self._prepare()
        content = pack(lasting(records), Pace().breathe)
        if len(content) > MAX_FILE:
            raise OSError(f"{len(content)} bytes are too many for one file")
        name = Name(self._wall(), journal, upto, requests_in(records))
        path = os.path.join(self.folder, f"{name}{PART}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(path, flags, 0o600), "wb") as file:
                file.write(content)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        return path

    def _prepare(self) -> None:
        try:
            above = os.path.dirname(self.folder)
            ensure_private_dir(os.path.dirname(above))
            ensure_private_dir(above)
            ensure_private_dir(self.folder)
        except StateDirError as error:
            raise OSError(str(error)) from error

    @staticmethod
    def publish(part: str) -> None:
        """Its journal has let go of these records: they are to be delivered from here."""
        with contextlib.suppress(OSError):
            os.rename(part, part.removesuffix(PART) + SPOOL)

    # ------------------------------------------------------------ delivering

    def hold(self, part: str) -> Claimed | None:
        """Keep a file that was just written from everybody, also once it is published."""
        name = Name.of(os.path.basename(part))
        held = self._claim(part, name) if name is not None else None
        return held and held._replace(path=part.removesuffix(PART) + SPOOL)

    def claim(self) -> Claimed | None:
        """The oldest file that nobody else is delivering."""
        for path, name in self._files(SPOOL):
            claimed = self._claim(path, name)
            if claimed is not None:
                return claimed
        return None

    def _claim(self, path: str, name: Name) -> Claimed | None:
        try:
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _ours(os.fstat(lock)) and locks.is_at(lock, path):
                return Claimed(path, name, locks.hold(lock))
        except OSError:
            pass  # somebody else has it, or is done with it
        os.close(lock)
        return None

    @staticmethod
    def read(claimed: Claimed) -> Parcel:
        """What a claimed file has to deliver; fewer records than it says where it is damaged."""
        try:
            if os.fstat(claimed.lock).st_size > MAX_FILE:
                return Parcel()
            with open(claimed.lock, "rb", closefd=False) as file:
                rest = unpack(file.read(MAX_FILE), Pace().breathe)
        except OSError:
            return Parcel()
        if requests_in(rest.records) + rest.delivered + sum(rest.dropped.values()) > claimed.name.requests:
            return Parcel()  # more than was ever written into it
        return Parcel(rest.records, rest.delivered, rest.dropped)

    @staticmethod
    def note(claimed: Claimed, parcel: Parcel) -> None:
        """Write down what is left of a claimed file, for whoever comes next; without it all is sent again."""
        noted = note(Rest(lasting(parcel.records), parcel.delivered, parcel.dropped))
        with contextlib.suppress(OSError):
            file = os.open(claimed.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                size = os.fstat(file).st_size
                if size + len(noted) <= MAX_FILE and os.write(file, noted) < len(noted):
                    os.ftruncate(file, size)  # the disk is full, and half a note would hide the next one
            finally:
                os.close(file)

    def is_stale(self, claimed: Claimed) -> bool:
        """Has it waited longer than it is of any use?"""
        return self._wall() - claimed.name.time > self._age

    @staticmethod
    def give_up(claimed: Claimed) -> None:
        """Not now: leave the file to whoever comes next."""
        locks.let_go(claimed.lock)

    def close(self, claimed: Claimed, delivered: int, dropped: dict[str, int]) -> None:
        """It is dealt with. What it accounts for and nobody found in it was damaged."""
        missing = claimed.name.requests - delivered - sum(dropped.values())
        if missing > 0:
            dropped = {**dropped, "damaged": dropped.get("damaged", 0) + missing}
        with self._lock:  # numbers must come to the accounts in their order
            if not self._sealed:
                self._numbers += 1
                file = done(claimed.name, dropped, self._closer, self._numbers)
                path = os.path.join(self.folder, file)
                with contextlib.suppress(OSError):
                    os.rename(claimed.path, path)
                self._closed.append(Closed(path, self._numbers, claimed.name.requests, delivered, dropped))
        self.give_up(claimed)

    def seal(self) -> None:
        """This process's accounts are being closed: what it is done with too late is left to the next one."""
        with self._lock:
            self._sealed = True

    def collect(self) -> list[Closed]:
        """What was closed since the last time, to be counted, settled and then removed."""
        with self._lock:
            closed, self._closed = self._closed, []
        return closed

    # ------------------------------------------------------------ bounds

    def trim(self) -> None:
        """Let go of the oldest files beyond the size, and of all that are too old; those that are not
        published yet take room already."""
        files = self._files(SPOOL)
        sizes = [_size(path) for path, _ in files]
        excess = sum(sizes) + sum(_size(path) for path, _ in self._files(PART)) - self._size
        for (path, name), size in zip(files, sizes, strict=True):
            reason = "spool_full" if excess > 0 else "too_old"
            if excess <= 0 and self._wall() - name.time <= self._age:
                break
            claimed = self._claim(path, name)
            if claimed is not None:
                self.close(claimed, 0, {reason: name.requests})
            excess -= size
        self._forget()

    def _forget(self) -> None:
        """Take away what nobody will come back for: left half-done by a worker whose journal is lost."""
        for path, name in self._files(PART) + self._files(DONE):
            if self._wall() - name.time > max(self._age, FORGOTTEN):
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def take_over(self, folder: str) -> None:
        """Take what waits in the folder of other settings; rename decides between two who try."""
        other = Spool(folder, self._closer, size=self._size, age=self._age / 1e9, wall=self._wall)
        for path, _ in other._files(SPOOL):
            with contextlib.suppress(OSError):
                self._prepare()
                os.rename(path, os.path.join(self.folder, os.path.basename(path)))

    # ------------------------------------------------------------ after a kill

    def adopt(self, journal: str, acked: int, counted: int) -> list[Closed]:
        """What a dead worker left half-done: its checkpoint says up to where it acknowledged and counted."""
        for path, name in self._files(PART):
            if name.journal == journal and name.upto <= acked:
                self.publish(path)
            elif name.journal == journal:
                with contextlib.suppress(OSError):
                    os.unlink(path)
        closed = []
        for path, name in self._files(DONE):
            closer, left = closed_by(path, name)
            if closer != journal:
                continue
            if left.number <= counted:
                left.remove()
            else:
                closed.append(left)
        return closed

    def _files(self, suffix: str) -> list[tuple[str, Name]]:
        """Files of ours, oldest first."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if name.endswith(suffix))
        except OSError:
            return []
        return [(os.path.join(self.folder, file), name) for file in names if (name := Name.of(file))]

    def waiting(self) -> int:
        """Requests that stand here to be delivered."""
        return sum(name.requests for _, name in self._files(SPOOL))

    @property
    def empty(self) -> bool:
        """Whether nothing stands here, not even what is no request: an event, a worker's last metrics."""
        return not self._files(SPOOL)

    def __repr__(self) -> str:
        return f"<Spool {self.folder} · {self.waiting()} requests waiting>"


def _ours(info: os.stat_result) -> bool:
    return stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid()


def _size(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_size
    except OSError:
        return 0
