"""Siblings: how other workers ended is seen by those that live, whoever reaps them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from export_kit import origin

from server_tracing.export.heirs.deaths import PATIENCE, Deaths
from server_tracing.export.heirs.siblings import EVERY, Siblings, remembered_status
from server_tracing.export.signals import Doorbell, ready
from server_tracing.identity import boot_id
from server_tracing.journal.journals import Journals

HERE = {"host": socket.gethostname(), "boot": boot_id()}


class Family:
    """Journals of other processes."""

    def __init__(self, *pids: int, **given: str) -> None:
        self.origins = {f"{pid}.journal": origin(pid=pid, **{**HERE, **given}) for pid in pids}

    def names(self):
        return list(self.origins)

    def origin_of(self, name):
        return self.origins[name]


def process(code: str) -> subprocess.Popen:
    """One that does this when it is told to."""
    child = subprocess.Popen([sys.executable, "-c", f"import os; input(); {code}"], stdin=subprocess.PIPE)
    return child


def died(siblings: Siblings) -> bool:
    """Wait for the first."""
    assert ready(siblings.files, 30)
    return siblings.note()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os._exit(7)", "exit 7"),
        ("os.kill(os.getpid(), 9)", "signal 9"),
        ("os.kill(os.getpid(), 11)", "signal 11"),
    ],
)
def test_how_a_sibling_died_is_seen(code, reason):
    """Before anybody has reaped it."""
    child = process(code)
    siblings = Siblings(Family(child.pid), clock=lambda: 5)
    siblings.look(0.0)
    assert not siblings.note()
    child.stdin.write(b"\n")
    child.stdin.flush()
    assert died(siblings)
    assert siblings.death_of(child.pid) == (reason, 5)
    assert list(siblings.files) == []
    child.wait()
    child.stdin.close()


def test_how_a_sibling_died_that_was_reaped_at_once():
    """Where the kernel remembers; else nothing is said."""
    child = process("os._exit(7)")
    siblings = Siblings(Family(child.pid))
    siblings.look(0.0)
    (file,) = siblings.files
    child.communicate(b"\n")
    remembers = remembered_status(file) is not None
    assert died(siblings)
    assert (siblings.death_of(child.pid) is not None) == remembers
    if remembers:
        assert siblings.death_of(child.pid)[0] == "exit 7"


def test_a_kill_for_want_of_memory_is_told(monkeypatch):
    """By the count of the control group."""
    counts = iter((3, 4))
    monkeypatch.setattr("server_tracing.oom.kills", counts.__next__)
    child = process("os.kill(os.getpid(), 9)")
    siblings = Siblings(Family(child.pid))
    siblings.look(0.0)
    child.stdin.write(b"\n")
    child.stdin.flush()
    assert died(siblings)
    assert siblings.death_of(child.pid)[0] == "signal 9 (out of memory)"
    child.wait()
    child.stdin.close()


@pytest.mark.parametrize("given", [{"host": "another"}, {"boot": "another"}])
def test_a_pid_of_another_machine_means_nothing_here(given):
    """Several containers may share a state directory."""
    siblings = Siblings(Family(os.getppid(), **given))
    siblings.look(0.0)
    assert list(siblings.files) == []


def test_new_ones_are_found_and_dead_ones_forgotten():
    """Looked for every so often, and nobody watches itself."""
    opened = []

    def open_process(pid):
        opened.append(pid)
        if pid == 3:
            raise ProcessLookupError
        return os.eventfd(0)

    family = Family(2, 3, os.getpid())
    siblings = Siblings(family, open_process=open_process)
    siblings.look(0.0)
    siblings.look(EVERY / 2)
    assert sorted(opened) == [2, 3]
    family.origins["4.journal"] = origin(pid=4, **HERE)
    siblings.look(EVERY)
    assert sorted(opened) == [2, 3, 4]
    assert repr(siblings) == "<Siblings 2 alive · 0 seen to die>"
    siblings.close()
    assert list(siblings.files) == []


def test_a_door_bell_hears_of_others_too():
    """Rung twice it is heard once; what else can be read wakes it."""
    bell, other = Doorbell(), os.eventfd(0)
    bell.ring()
    bell.put_up()
    assert not bell.wait(0.0)
    bell.ring()
    bell.ring()
    assert bell.wait(30.0)
    os.eventfd_write(other, 1)
    assert not bell.wait(30.0, [other])
    os.close(other)


# ---------------------------------------------------------------- who is believed


class Dead:
    """A journal whose worker is gone."""

    def __init__(self, aborted: str = "", clean: bool = False, heartbeat: int = 100) -> None:
        self.origin = origin(pid=7)
        self.aborted, self.closed_cleanly, self.heartbeat = aborted, clean, heartbeat


CRASHED = "Fatal Python error: Segmentation fault\n"


@pytest.mark.parametrize(
    ("journal", "master", "sibling", "words", "reason"),
    [
        (Dead("timeout"), ("signal 9", 200), None, "", "timeout"),
        (Dead("signal 6"), ("exit 1", 200), None, "", "signal 6"),
        (Dead("signal 6"), ("timeout", 200), None, "", "timeout"),
        (Dead(), ("signal 9", 200), ("signal 6", 200), CRASHED, "signal 9"),
        (Dead(), None, ("signal 6", 200), CRASHED, "signal 6"),
        (Dead(), None, None, CRASHED, "signal 11"),
        (Dead(clean=True), None, None, "", "exit"),
        (Dead(), None, None, "", "unknown"),
        (Dead(), ("signal 9", 50), None, "", "unknown"),
    ],
    ids=[
        "own mark",
        "another one",
        "a timeout that came too late to be seen",
        "master",
        "sibling",
        "last words",
        "clean",
        "nobody",
        "an earlier process of that number",
    ],
)
def test_who_knows_best_is_believed(journal, master, sibling, words, reason):
    """The worker's own mark, its master, a sibling, its last words."""
    deaths = Deaths(lambda pid: master, lambda pid: sibling)
    assert deaths.of(journal, words, PATIENCE).reason == reason


def test_a_master_is_waited_for_a_moment():
    """It reaps a little later than we look."""
    told = []
    deaths = Deaths(lambda pid: told[0] if told else None, lambda pid: ("signal 6", 200))
    assert deaths.of(Dead(), "", 0.0) is None
    assert deaths.of(Dead(), "", PATIENCE).reason == "signal 6"
    told.append(("timeout", 300))
    death = deaths.of(Dead(), "", 0.0)
    assert (death.reason, death.stamp) == ("timeout", 300)
    assert Deaths().of(Dead(), "", 0.0).reason == "unknown"


def test_the_origin_of_a_journal_that_cannot_be_read_is_nobodys(tmp_path):
    """Gone, cut off, or no journal."""
    (tmp_path / "x.journal").write_bytes(b"no journal")
    journals = Journals(str(tmp_path), shm=str(tmp_path))
    assert journals.origin_of(str(tmp_path / "x.journal")) is None
    assert journals.origin_of(str(tmp_path / "y.journal")) is None
