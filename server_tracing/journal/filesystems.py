"""What kind of file system a path is on: a map on a network file system can fail at any store."""

from __future__ import annotations

import os

REMOTE = ("nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "lustre", "afs", "fuse")


def is_remote(path: str, mounts: str = "/proc/self/mountinfo") -> bool:
    """Is `path` on a network (or user-space) file system? Unknown counts as no."""
    return kind_of(path, mounts).startswith(REMOTE)


def kind_of(path: str, mounts: str = "/proc/self/mountinfo") -> str:
    """The file system type of the mount that `path` is on, or ''."""
    real = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                point = before.split(" ")[4].replace("\\040", " ")
                if len(point) >= len(best) and (real + "/").startswith(point.rstrip("/") + "/"):
                    best, kind = point, after.split(" ")[0]
    except (OSError, IndexError):
        return ""
    return kind
