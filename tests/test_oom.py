"""The kernel's own count of processes that it killed for want of memory, wherever it keeps it."""

from __future__ import annotations

import pytest

from server_tracing import oom

V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"
V2 = "low 0\nhigh 0\nmax 12\noom 9\noom_kill 7\n"


@pytest.mark.parametrize(
    ("groups", "place", "text"),
    [
        ("0::/system.slice/shop.service\n", "system.slice/shop.service/memory.events", V2),
        ("0::/docker/0123\n", "memory.events", V2),
        ("9:cpu:/\n4:memory:/shop\n0::/\n", "memory/shop/memory.oom_control", V1),
        ("4:memory,hugetlb:/docker/0123\n", "memory/memory.oom_control", V1),
    ],
    ids=["version 2", "version 2 in a container", "version 1", "version 1 in a container"],
)
def test_the_count_of_this_group_is_found(tmp_path, groups, place, text):
    """In both versions, and in containers, whose own group is the root they see."""
    (tmp_path / "cgroup").write_text(groups)
    (tmp_path / "fs" / place).parent.mkdir(parents=True)
    (tmp_path / "fs" / place).write_text(text)
    assert oom.kills(str(tmp_path / "fs"), str(tmp_path / "cgroup")) == 7


@pytest.mark.parametrize("groups", ["", "nonsense\n", "0::/gone\n", "4:memory:/gone\n"])
def test_where_nothing_is_told_there_were_none(tmp_path, groups):
    """No control groups, another kernel, no permission."""
    (tmp_path / "cgroup").write_text(groups)
    assert oom.kills(str(tmp_path), str(tmp_path / "cgroup")) == 0
    assert oom.kills(str(tmp_path), str(tmp_path / "missing")) == 0
    assert oom.kills() >= 0
