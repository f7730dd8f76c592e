"""How often the kernel has killed for want of memory in the control group of this process.

A process that is killed so dies of SIGKILL like any other; only this count tells the difference.
"""

from __future__ import annotations

ROOT = "/sys/fs/cgroup"


def kills(root: str = ROOT, groups: str = "/proc/self/cgroup") -> int:
    """So many so far; 0 where that is not told."""
    try:
        with open(groups, encoding="utf-8", errors="replace") as file:
            places = [place for line in file for place in _places(root, line)]
    except OSError:
        return 0
    return next((count for place in places if (count := _count(place)) is not None), 0)


def _places(root: str, line: str) -> list[str]:
    """Where a group's count may stand, in version 1 and 2; in a container its own group may be the root."""
    _, controllers, path = [*line.strip().split(":", 2), "", ""][:3]
    if not controllers:
        return [f"{root}{path}/memory.events", f"{root}/memory.events"]
    if "memory" in controllers.split(","):
        return [f"{root}/memory{path}/memory.oom_control", f"{root}/memory/memory.oom_control"]
    return []


def _count(place: str) -> int | None:
    try:
        with open(place, encoding="ascii", errors="replace") as file:
            told = dict(line.split(None, 1) for line in file if " " in line)
        return int(told["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None
