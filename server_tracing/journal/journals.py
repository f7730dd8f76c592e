"""Where journals stand, who owns them, and how a dead worker's is adopted.

A journal lives in /dev/shm where that is private and has room (a disk-backed map stalls a store up to 3.5 ms
beside an fsync load, /dev/shm 0.2 ms), else in the state directory, else in memory alone. `flock` on a
separate `<id>.lock` is ownership, and a free lock the only proof of death: pids lie across namespaces. The
lock is taken before the journal becomes visible and held until the process ends or the file is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import socket
import stat
import weakref
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from server_tracing.identity import anchor, boot_id, new_id
from server_tracing.journal import Journal, JournalError, initialise, open_map, ring_size, total_size
from server_tracing.journal.filesystems import is_remote
from server_tracing.record import Origin
from server_tracing.statedir import StateDirError, ensure_private_dir

SHM = "/dev/shm"  # noqa: S108 - private folders are made in it, and checked
SHM_SHARE = 4  # a journal may take at most this part of what is free there: the application may need it too
JOURNAL, LOCK, NEW, UNREADABLE = ".journal", ".lock", ".new", ".unreadable"

_open_flags = os.O_CLOEXEC | os.O_NOFOLLOW
# Everything this process holds, given up by a forked child: a lock it kept would outlive its parent.
_held_locks: set[int] = set()
_held_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


class Seen(NamedTuple):
    """A journal looked at from outside: is its worker alive, and does it deliver where we do?"""

    journal: Journal
    alive: bool
    ours: bool


class Journals:
    """The journals of one state directory, and the destinations and service that may share them."""

    def __init__(
        self,
        state_dir: str,
        *,
        service: str = "",
        destinations: str = "",
        explicit: str | None = None,
        shm: str = SHM,
        uid: int | None = None,  # whose: root may look at anybody's
    ) -> None:
        self.state_dir = state_dir
        self.service = service
        self.destinations = destinations
        self.notes: list[str] = []  # why a journal does not stand where it should, one sentence each
        named = blake2b(os.path.abspath(state_dir).encode(), digest_size=8).hexdigest()
        self._shm = shm
        self._shared = os.path.join(shm, f"server-tracing-{os.geteuid() if uid is None else uid}", named)
        self._folders = [os.path.join(explicit, named)] if explicit else [self._shared]
        self._folders.append(os.path.join(state_dir, "journals"))
        self._locks: dict[str, int] = {}

    def origin(self, server: str, worker_class: str = "") -> Origin:
        """What the header of a new journal of this process says."""
        wall, monotonic = anchor()
        return Origin(
            id=new_id(),
            seed=os.urandom(16),
            pid=os.getpid(),
            service=self.service,
            destinations=self.destinations,
            state_dir=self.state_dir,
            server=server,
            worker_class=worker_class,
            host=socket.gethostname(),
            wall=wall,
            monotonic=monotonic,
            boot=boot_id(),
        )

    def create(self, origin: Origin, size: int) -> Journal:
        """A new journal for this process, in the best place that will have it; in memory if none will."""
        size = ring_size(size)
        for folder in self._folders:
            try:
                return self._create_in(folder, origin, size)
            except (OSError, StateDirError) as error:
                self.notes.append(f"no journal in {folder}: {error}")
        self.notes.append("the journal is kept in memory: what a killed worker saw will be lost")
        journal = initialise(mmap.mmap(-1, total_size(size)), origin, size)
        _held_journals.add(journal)
        return journal

    def _create_in(self, folder: str, origin: Origin, size: int) -> Journal:
        self._prepare(folder, total_size(size))
        path = os.path.join(folder, origin.id)
        lock = _take_new_lock(path + LOCK)
        try:
            memory = _allocate(path + NEW, total_size(size))
            journal = initialise(memory, origin, size, path + JOURNAL)
            os.rename(path + NEW, path + JOURNAL)
        except BaseException:
            for leftover in (path + NEW, path + LOCK):
                with contextlib.suppress(OSError):
                    os.unlink(leftover)
            _let_go(lock)
            raise
        self._locks[origin.id] = lock
        _held_journals.add(journal)
        return journal

    def _prepare(self, folder: str, wanted: int) -> None:
        if folder == self._shared:
            ensure_private_dir(os.path.dirname(folder))
            free = os.statvfs(self._shm)
            if free.f_bavail * free.f_frsize < SHM_SHARE * wanted:
                raise OSError(f"less than {SHM_SHARE * wanted >> 20} MiB are free")
        elif folder.startswith(self.state_dir):
            ensure_private_dir(self.state_dir)
        ensure_private_dir(folder)
        if is_remote(folder):
            raise OSError("a network file system cannot be mapped safely")

    def orphans(self, *, any_destination: bool = False) -> Iterator[Journal]:
        """Adopt, one by one, the journals whose workers are dead; the caller removes or releases each."""
        for path in self._files(JOURNAL):
            lock = _claim(path)
            if lock is None:
                continue
            journal = self._adopt(path, any_destination)
            if journal is None:
                _let_go(lock)
                continue
            self._locks[journal.origin.id] = lock
            yield journal

    def _adopt(self, path: str, any_destination: bool) -> Journal | None:
        try:
            journal = open_map(_map(path, write=True), path, read_only=False)
        except FileNotFoundError:  # another claimer was here first, and is done
            with contextlib.suppress(OSError):
                os.unlink(_beside(path, LOCK))
            return None
        except (OSError, JournalError, ValueError) as error:
            self.notes.append(f"a journal cannot be read and is set aside: {error}")
            with contextlib.suppress(OSError):
                os.rename(path, _beside(path, UNREADABLE))
                os.unlink(_beside(path, LOCK))
            return None
        if any_destination or self._is_ours(journal.origin):
            return journal
        journal.close()
        return None

    def _is_ours(self, origin: Origin) -> bool:
        return origin.destinations == self.destinations and origin.service == self.service

    def remove(self, journal: Journal) -> None:
        """Everything in `journal` is settled: take its files away."""
        journal.close()
        if journal.path is not None:
            for path in (journal.path, _beside(journal.path, LOCK)):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        self._unlock(journal)

    def release(self, journal: Journal) -> None:
        """Leave `journal` to whoever claims it next."""
        journal.close()
        self._unlock(journal)

    def _unlock(self, journal: Journal) -> None:
        lock = self._locks.pop(journal.origin.id, None)
        if lock is not None:
            _let_go(lock)

    def look(self) -> Iterator[Seen]:
        """All journals of this state directory, live and dead, without touching them."""
        for path in self._files(JOURNAL):
            try:
                journal = open_map(_map(path, write=False), path, read_only=True)
            except (OSError, JournalError, ValueError):
                continue
            try:
                yield Seen(journal, _is_locked(_beside(path, LOCK)), self._is_ours(journal.origin))
            finally:
                journal.close()

    def sweep(self) -> None:
        """Take away what a start that was killed half-way left behind."""
        for path in self._files(LOCK):
            if os.path.exists(_beside(path, JOURNAL)):
                continue
            lock = _claim(path)
            if lock is None:
                continue
            if not os.path.exists(_beside(path, JOURNAL)):
                for leftover in (_beside(path, NEW), path):
                    with contextlib.suppress(OSError):
                        os.unlink(leftover)
            _let_go(lock)

    def _files(self, suffix: str) -> list[str]:
        found = []
        for folder in {*self._folders, self._shared}:
            with contextlib.suppress(OSError):
                found += [entry.path for entry in os.scandir(folder) if entry.name.endswith(suffix)]
        own = {os.path.basename(path) for path in self._locks}
        return sorted(path for path in found if os.path.basename(path).removesuffix(suffix) not in own)

    def __repr__(self) -> str:
        return f"<Journals of {self.state_dir} · {len(self._locks)} held>"


def _beside(path: str, suffix: str) -> str:
    return os.path.splitext(path)[0] + suffix


def _allocate(path: str, size: int) -> mmap.mmap:
    """A mapped file whose every page is really there: a sparse one on a full disk is a SIGBUS."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _open_flags, 0o600)
    try:
        os.posix_fallocate(file, 0, size)
        populate = getattr(mmap, "MAP_POPULATE", 0)  # page faults now rather than in requests
        return mmap.mmap(file, size, flags=mmap.MAP_SHARED | populate)
    finally:
        os.close(file)


def _map(path: str, *, write: bool) -> mmap.mmap:
    file = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | _open_flags)
    try:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode) or (write and info.st_uid != os.geteuid()):
            raise JournalError(f"{path} is not a file of this user")
        return mmap.mmap(file, 0, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
    finally:
        os.close(file)


def _take_new_lock(path: str) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _open_flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink == 0:
            raise BlockingIOError("the new lock was swept away")
    except OSError:
        os.close(lock)
        raise
    _held_locks.add(lock)
    return lock


def _claim(path: str) -> int | None:
    """The lock beside `path`, if its owner is dead and nobody else was faster."""
    name = _beside(path, LOCK)
    try:
        if os.lstat(path).st_uid != os.geteuid():
            return None
        lock = os.open(name, os.O_RDWR | os.O_CREAT | _open_flags, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held, there = os.fstat(lock), os.stat(name, follow_symlinks=False)
        if held.st_uid == os.geteuid() and (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino):
            _held_locks.add(lock)
            return lock
    except OSError:
        pass  # somebody lives, or somebody was faster
    os.close(lock)
    return None


def _is_locked(path: str) -> bool:
    try:
        lock = os.open(path, os.O_RDONLY | _open_flags)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _let_go(lock: int) -> None:
    _held_locks.discard(lock)
    os.close(lock)


def _in_child() -> None:
    for journal in list(_held_journals):
        journal.disown()
    for lock in _held_locks:
        with contextlib.suppress(OSError):
            os.close(lock)
    _held_locks.clear()


os.register_at_fork(after_in_child=_in_child)
