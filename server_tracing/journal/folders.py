"""The folders that journals of one state directory may stand in, and what is in them.

The best place comes first. Nothing in a folder that somebody else could write to is ever opened: in a shared
place another user may have made it first, with links in it that lead to our own files.
"""

from __future__ import annotations

import contextlib
import os
from hashlib import blake2b

from server_tracing.journal.filesystems import is_remote
from server_tracing.statedir import ensure_private_dir, is_private

SHM = "/dev/shm"  # noqa: S108 - private folders are made in it, and checked
SHM_SHARE = 4  # a journal may take at most this part of what is free there: the application may need it too


class Folders:
    """Shared memory or the explicit place, then the state directory; those of `uid`, whoever looks."""

    def __init__(self, state_dir: str, explicit: str | None, shm: str, uid: int) -> None:
        named = blake2b(os.path.abspath(state_dir).encode(), digest_size=8).hexdigest()
        self.state_dir = state_dir
        self.shm = shm
        self.uid = uid
        self.shared = os.path.join(shm, f"server-tracing-{uid}", named)
        self._last = os.path.join(state_dir, "journals")
        self.best_first = [os.path.join(explicit, named) if explicit else self.shared, self._last]

    def prepare(self, folder: str, wanted: int) -> None:
        """Have it, private and with room for `wanted` bytes; OSError or StateDirError if that cannot be."""
        if folder == self.shared:
            ensure_private_dir(os.path.dirname(folder))
            free = os.statvfs(self.shm)
            if free.f_bavail * free.f_frsize < SHM_SHARE * wanted:
                raise OSError(f"less than {SHM_SHARE * wanted >> 10:,} KiB are free")
        elif folder.startswith(self.state_dir):
            ensure_private_dir(self.state_dir)
        ensure_private_dir(folder)
        if is_remote(folder):
            raise OSError("a network file system cannot be mapped safely")

    def hand_over(self, gid: int) -> None:
        """As root, make what is asked for the user's, who could not make it there; or StateDirError."""
        for folder in {self.state_dir, *self.best_first} - {self.shared, self._last}:
            ensure_private_dir(folder, self.uid, gid)

    def files(self, suffix: str) -> list[str]:
        """Everything that is called so."""
        above = {self.shared: os.path.dirname(self.shared), self._last: self.state_dir}
        return [
            path
            for folder in {*self.best_first, self.shared}
            if folder not in above or is_private(above[folder], self.uid)
            for path in self.in_one(folder, suffix)
        ]

    def in_one(self, folder: str, suffix: str) -> list[str]:
        """What is called so in one folder, if that is private."""
        return [path for path in self._entries(folder) if path.endswith(suffix)]

    def of_others(self) -> list[str]:
        """The folders of other state directories in shared memory."""
        return [path for path in self._entries(os.path.dirname(self.shared)) if path != self.shared]

    def _entries(self, folder: str) -> list[str]:
        if is_private(folder, self.uid):
            with contextlib.suppress(OSError):
                return [entry.path for entry in os.scandir(folder)]
        return []
