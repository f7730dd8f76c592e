"""Where journals stand, and how a dead worker's is adopted; whose one is, locks.py says.

A journal lives in /dev/shm where that is private and has room (a disk-backed map stalls a store up to 3.5 ms
beside an fsync load, /dev/shm 0.2 ms), else in the state directory, else in memory alone until there is room.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import weakref
from collections.abc import Callable, Iterator
from typing import NamedTuple

from server_tracing.config import Config, destinations
from server_tracing.identity import anchor, boot_id, new_id
from server_tracing.journal import Journal, JournalError, initialise, open_map, ring_size, total_size
from server_tracing.journal import leftovers as leftovers
from server_tracing.journal import locks as locks
from server_tracing.journal import maps as maps
from server_tracing.journal import words as words
from server_tracing.journal.folders import SHM, Folders
from server_tracing.journal.leftovers import JOURNAL, LOCK, NEW, UNREADABLE, beside, unlink
from server_tracing.record import Origin
from server_tracing.statedir import StateDirError

HOMELESS = "the journal is kept in memory: what a killed worker saw will be lost"

_held: weakref.WeakSet[Journal] = weakref.WeakSet()  # by this process; a forked child gives them up


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
        self.notes: list[str] = []  # what is not as it should be, one sentence each
        self._said: set[str] = set()
        self._folders = Folders(state_dir, explicit, shm, os.geteuid() if uid is None else uid)
        self._locks: dict[str, int] = {}
        self._inodes: dict[str, int] = {}  # of our own journals' files

    @classmethod
    def of(cls, config: Config, service: str, uid: int | None = None) -> Journals:
        """Those that a server with these settings keeps."""
        return cls(
            config.state_dir,
            service=service,
            destinations=destinations(config),
            explicit=config.journal.dir,
            uid=uid,
        )

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

    # ------------------------------------------------------------ our own

    def create(self, origin: Origin, size: int) -> Journal:
        """A new journal for this process, in the best place that will have it; in memory if none will."""
        size = ring_size(size)
        journal = self._place(origin.id, size, lambda memory, path: initialise(memory, origin, size, path))
        if journal is None:
            self.notes.append(HOMELESS)
            journal = initialise(mmap.mmap(-1, total_size(size)), origin, size)
        _held.add(journal)
        return journal

    def keep(self, journal: Journal) -> None:
        """See that a journal of this process stands in a file, where others will find it: one that was
        deleted, or had no room, moves to where there is some."""
        if journal.path is not None and not self._stands(journal):
            self.notes.append(f"{journal.path} was deleted: {HOMELESS}")
            self._abandon(journal)
        if journal.path is None:
            if self._place(journal.origin.id, journal.size, journal.move, quiet=True) is not None:
                self.notes.append(f"the journal is kept in {journal.path} now")
            else:
                journal.path = None  # also where it had moved to a file that then could not be named

    def _stands(self, journal: Journal) -> bool:
        assert journal.path is not None
        lock = self._locks.get(journal.origin.id)
        return lock is not None and locks.is_at(lock, beside(journal.path, LOCK)) and self._is_there(journal)

    def _is_there(self, journal: Journal) -> bool:
        try:
            return os.stat(str(journal.path), follow_symlinks=False).st_ino == self._inodes[journal.origin.id]
        except OSError:
            return False

    def _abandon(self, journal: Journal) -> None:
        """Take away what is left of its files: another worker might take them for a dead one's."""
        assert journal.path is not None
        unlink(beside(journal.path, words.WORDS), journal.path, beside(journal.path, LOCK))
        self._unlock(journal)
        journal.path = None

    def _place(
        self, name: str, size: int, begin: Callable[[mmap.mmap, str], Journal], *, quiet: bool = False
    ) -> Journal | None:
        """What `begin` makes of a new map in the first folder that will have it."""
        for folder in self._folders.best_first:
            try:
                return self._place_in(folder, name, size, begin)
            except (OSError, StateDirError, JournalError) as error:
                if not quiet:
                    self.notes.append(f"no journal in {folder}: {error}")
        return None

    def _place_in(
        self, folder: str, name: str, size: int, begin: Callable[[mmap.mmap, str], Journal]
    ) -> Journal:
        self._folders.prepare(folder, total_size(size))
        path = os.path.join(folder, name)
        lock = locks.take_new(path + LOCK)
        try:
            memory, inode = maps.allocate(path + NEW, total_size(size))
            journal = begin(memory, path + JOURNAL)
            os.rename(path + NEW, path + JOURNAL)
        except BaseException:
            unlink(path + NEW, path + JOURNAL, path + LOCK)
            locks.let_go(lock)
            raise
        self._locks[name], self._inodes[name] = lock, inode
        return journal

    def make_words(self, journal: Journal) -> int | None:
        """Where this process is to say its last words: beside its journal, if that stands in a file."""
        return words.make(beside(journal.path, words.WORDS)) if journal.path is not None else None

    # ------------------------------------------------------------ other workers'

    def orphans(self, *, any_destination: bool = False) -> Iterator[Journal]:
        """Adopt, one by one, the journals whose workers are dead; the caller removes or releases each."""
        for path in self._files(JOURNAL):
            lock = locks.claim(beside(path, LOCK), make=any_destination)
            if lock is None:
                self._doubt(beside(path, LOCK))
                continue
            journal = self._adopt(path, any_destination)
            if journal is None:
                locks.let_go(lock)
                continue
            self._locks[journal.origin.id] = lock
            yield journal

    def _doubt(self, lock: str) -> None:
        if not locks.may_be_one(lock):
            self._note(f"nobody can tell whether a journal's worker lives: {lock} is no file of this user")

    def _adopt(self, path: str, any_destination: bool) -> Journal | None:
        try:
            memory, cut = maps.adopt(path)
            journal = open_map(memory, path, read_only=False)
            if beside(path, "") != os.path.join(os.path.dirname(path), journal.origin.id):
                raise JournalError(f"{path} is a copy of {journal.origin.id}")
        except FileNotFoundError:  # another claimer was here first, and is done
            unlink(beside(path, LOCK))
            return None
        except OSError as error:  # too many open files, no room for what is missing: another time
            self._note(f"a dead worker's journal cannot be opened now: {error}")
            return None
        except JournalError as error:
            self._note(f"a dead worker's journal is lost and set aside: {error}")
            _rename_aside(path)
            return None
        if any_destination or self._is_ours(journal.origin):
            journal.cut = cut
            return journal
        journal.close()
        return None

    def _note(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self.notes.append(sentence)

    def _is_ours(self, origin: Origin) -> bool:
        return origin.destinations == self.destinations and origin.service == self.service

    def remove(self, journal: Journal) -> None:
        """Everything in `journal` is settled: take its files away."""
        journal.close()
        if journal.path is not None:
            unlink(beside(journal.path, words.WORDS), journal.path, beside(journal.path, LOCK))
        self._unlock(journal)

    def set_aside(self, journal: Journal) -> None:
        """Nobody can make anything of `journal`: leave it to whoever wants to look."""
        journal.close()
        if journal.path is not None:
            _rename_aside(journal.path)
        self._unlock(journal)

    def release(self, journal: Journal) -> None:
        """Leave `journal` to whoever claims it next."""
        journal.close()
        self._unlock(journal)

    def _unlock(self, journal: Journal) -> None:
        lock = self._locks.pop(journal.origin.id, None)
        if lock is not None:
            locks.let_go(lock)

    def words(self, journal: Journal) -> str:
        """What the worker of this journal had to say when it died, or was held."""
        return words.read(beside(journal.path, words.WORDS)) if journal.path is not None else ""

    def names(self) -> list[str]:
        """Other workers' journals that are there now."""
        return self._files(JOURNAL)

    def origin_of(self, name: str) -> Origin | None:
        """Whose this one is."""
        try:
            journal = open_map(maps.look_at(name), name, read_only=True)
        except (OSError, JournalError, ValueError):
            return None
        journal.close()
        return journal.origin

    def look(self) -> Iterator[Seen]:
        """All journals of this state directory, live and dead, without touching them."""
        for path in self._files(JOURNAL):
            try:
                journal = open_map(maps.look_at(path), path, read_only=True)
            except (OSError, JournalError, ValueError):
                continue
            try:
                yield Seen(journal, locks.is_held(beside(path, LOCK)), self._is_ours(journal.origin))
            finally:
                journal.close()

    def sweep(self) -> None:
        """Take away what nobody will ever claim."""
        leftovers.sweep(self._folders)

    def take_notes(self) -> list[str]:
        """What is to be said, once."""
        notes, self.notes = self.notes, []
        return notes

    def _files(self, suffix: str) -> list[str]:
        """Other journals' files."""
        own = {os.path.basename(path) for path in self._locks}
        found = self._folders.files(suffix)
        return sorted(path for path in found if os.path.basename(path).removesuffix(suffix) not in own)

    def __repr__(self) -> str:
        return f"<Journals of {self.state_dir} · {len(self._locks)} held>"


def _rename_aside(path: str) -> None:
    with contextlib.suppress(OSError):
        os.rename(path, beside(path, UNREADABLE))
        unlink(beside(path, words.WORDS), beside(path, LOCK))


def _in_child() -> None:
    for journal in list(_held):
        journal.disown()


os.register_at_fork(after_in_child=_in_child)
