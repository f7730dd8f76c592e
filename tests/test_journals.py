"""Who owns a journal, and how a dead worker's is adopted, exactly once, by its own kind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from server_tracing.identity import new_id
from server_tracing.journal import locks
from server_tracing.journal.filesystems import kind_of
from server_tracing.journal.journals import Journals
from server_tracing.journal.ring import MINIMAL_ROOM
from server_tracing.record import Kind, Origin

SIZE = 1 << 20


@pytest.fixture
def shm(tmp_path: Path) -> str:
    folder = tmp_path / "shm"
    folder.mkdir()
    return str(folder)


def journals(state: Path, shm: str, **changes: str) -> Journals:
    return Journals(str(state), **{"service": "shop", "destinations": "d1", "shm": shm} | changes)


def origin(of: Journals) -> Origin:
    return Origin(
        id=new_id(),
        seed=b"s" * 16,
        pid=os.getpid(),
        service=of.service,
        destinations=of.destinations,
        state_dir="",
    )


def die_with_a_journal(state: Path, shm: str, *, then: str = "os.kill(os.getpid(), 9)") -> None:
    """Another process creates a journal, writes one begin, and dies."""
    program = f"""
        import os, sys
        from tests.test_journals import *
        mine = journals(Path({str(state)!r}), {shm!r})
        journal = mine.create(origin(mine), SIZE)
        journal.ring.write(Kind.BEGIN_TEXT, b"in flight", MINIMAL_ROOM)
        {then}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=Path(__file__).parent.parent, check=False
    )
    assert done.returncode == -signal.SIGKILL


def test_a_new_journal_stands_in_shared_memory_and_is_private(tmp_path: Path, shm: str) -> None:
    """Where there is room, the ring is in /dev/shm, in folders and files only its user can read."""
    mine = journals(tmp_path / "state", shm)
    journal = mine.create(origin(mine), SIZE)
    assert journal.path is not None
    assert journal.path.startswith(shm)
    assert os.stat(journal.path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(journal.path)).st_mode & 0o777 == 0o700
    assert os.stat(journal.path).st_blocks * 512 >= SIZE, "a sparse file on a full disk is a SIGBUS"


def test_without_room_in_shared_memory_it_stands_in_the_state_directory(tmp_path: Path, shm: str) -> None:
    """A small /dev/shm is left to the application."""
    mine = journals(tmp_path / "state", shm)
    mine._folders.shm = "/proc"  # whose statvfs says nothing is free
    journal = mine.create(origin(mine), SIZE)
    assert journal.path is not None
    assert journal.path.startswith(str(tmp_path / "state"))
    assert "are free" in mine.notes[0]


def test_where_nothing_can_be_written_it_is_kept_in_memory_and_said(tmp_path: Path) -> None:
    """No directory is no reason to stop, but it is said what that costs."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    mine = journals(blocked / "state", str(blocked))
    journal = mine.create(origin(mine), SIZE)
    assert journal.path is None
    assert journal.ring.write(Kind.BEGIN_TEXT, b"x", MINIMAL_ROOM)
    assert "in memory" in mine.notes[-1]


def test_a_dead_workers_journal_is_adopted_with_everything_in_it(tmp_path: Path, shm: str) -> None:
    """kill -9 takes nothing that was written."""
    die_with_a_journal(tmp_path / "state", shm)
    [journal] = journals(tmp_path / "state", shm).orphans()
    assert [frame.payload for frame in journal.frames()] == [b"in flight"]
    assert not journal.closed_cleanly


def test_a_living_workers_journal_is_left_alone(tmp_path: Path, shm: str) -> None:
    """A held lock is a living owner."""
    mine = journals(tmp_path / "state", shm)
    mine.create(origin(mine), SIZE)
    assert list(journals(tmp_path / "state", shm).orphans()) == []


def test_of_two_claimers_only_one_gets_it(tmp_path: Path, shm: str) -> None:
    """While one holds it nobody else can, and once removed it is gone for all."""
    die_with_a_journal(tmp_path / "state", shm)
    first, second = journals(tmp_path / "state", shm), journals(tmp_path / "state", shm)
    [journal] = first.orphans()
    assert list(second.orphans()) == []
    first.remove(journal)
    assert list(second.orphans()) == []
    assert [file for _, _, files in os.walk(shm) for file in files] == []


def test_a_released_journal_can_be_claimed_again(tmp_path: Path, shm: str) -> None:
    """Who cannot finish leaves it for the next."""
    die_with_a_journal(tmp_path / "state", shm)
    first = journals(tmp_path / "state", shm)
    [journal] = first.orphans()
    first.release(journal)
    assert len(list(journals(tmp_path / "state", shm).orphans())) == 1


@pytest.mark.parametrize("other", [{"service": "bank"}, {"destinations": "d2"}])
def test_only_the_like_minded_may_claim(tmp_path: Path, shm: str, other: dict[str, str]) -> None:
    """Records of one application never reach another's backend; `recover` may take them on purpose."""
    die_with_a_journal(tmp_path / "state", shm)
    stranger = journals(tmp_path / "state", shm, **other)
    assert list(stranger.orphans()) == []
    [seen] = [(seen.alive, seen.ours) for seen in stranger.look()]
    assert seen == (False, False)
    assert len(list(stranger.orphans(any_destination=True))) == 1


def test_another_state_directory_is_another_world(tmp_path: Path, shm: str) -> None:
    """Journals in shared memory stand in a folder named after their state directory."""
    die_with_a_journal(tmp_path / "state", shm)
    assert list(journals(tmp_path / "other", shm).orphans(any_destination=True)) == []


def test_a_forked_child_neither_keeps_the_lock_nor_writes(tmp_path: Path, shm: str) -> None:
    """A child that outlives its worker does not make the worker look alive."""
    over, end = os.pipe()
    program = f"""
        from tests.test_journals import *
        mine = journals(Path({str(tmp_path / "state")!r}), {shm!r})
        journal = mine.create(origin(mine), SIZE)
        ring = journal.ring
        ring.write(Kind.BEGIN_TEXT, b"in flight", MINIMAL_ROOM)
        running, ready = os.pipe()
        if os.fork() == 0:
            ring.write(Kind.BEGIN_TEXT, b"by the child", MINIMAL_ROOM)
            os.write(ready, b"!")
            os.read({over}, 1)  # until the test is over
            os._exit(0)
        os.read(running, 1)
        os.kill(os.getpid(), 9)
    """
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=root, pass_fds=[over], check=False)
    try:
        [journal] = journals(tmp_path / "state", shm).orphans()
        assert [frame.payload for frame in journal.frames()] == [b"in flight"]
    finally:
        os.close(end)
        os.close(over)


def test_garbage_in_place_of_a_journal_is_set_aside(tmp_path: Path, shm: str) -> None:
    """A file that is no journal is named once, moved out of the way and kept for whoever wants to look."""
    die_with_a_journal(tmp_path / "state", shm)
    mine = journals(tmp_path / "state", shm)
    [path] = mine._files(".journal")
    Path(path).write_bytes(os.urandom(40_000))
    assert list(mine.orphans()) == []
    assert "set aside" in mine.notes[0]
    assert os.path.exists(path.replace(".journal", ".unreadable"))
    assert list(journals(tmp_path / "state", shm).orphans()) == []


def test_a_link_in_place_of_a_journal_is_not_followed(tmp_path: Path, shm: str) -> None:
    """Nobody can make us map, or delete, a file elsewhere."""
    mine = journals(tmp_path / "state", shm)
    journal = mine.create(origin(mine), SIZE)
    assert journal.path is not None
    target = tmp_path / "precious"
    target.write_bytes(b"\0" * 40_000)
    os.symlink(target, os.path.join(os.path.dirname(journal.path), "b" * 16 + ".journal"))
    assert list(journals(tmp_path / "state", shm).orphans()) == []
    assert target.read_bytes() == b"\0" * 40_000


def test_what_a_half_finished_start_left_is_swept(tmp_path: Path, shm: str) -> None:
    """Locks and half-made files without a journal and without an owner go; a living start's stay."""
    mine = journals(tmp_path / "state", shm)
    journal = mine.create(origin(mine), SIZE)
    assert journal.path is not None
    folder = Path(os.path.dirname(journal.path))
    (folder / ("c" * 16 + ".lock")).touch()
    (folder / ("c" * 16 + ".new")).write_bytes(b"half")
    journals(tmp_path / "state", shm).sweep()
    assert sorted(path.suffix for path in folder.iterdir()) == [".journal", ".lock"]


def test_looking_changes_nothing(tmp_path: Path, shm: str) -> None:
    """The command line can look at a living journal while it is written."""
    mine = journals(tmp_path / "state", shm)
    journal = mine.create(origin(mine), SIZE)
    journal.ring.write(Kind.BEGIN_TEXT, b"running", MINIMAL_ROOM)
    for seen in journals(tmp_path / "state", shm).look():
        assert (seen.alive, seen.ours) == (True, True)
        assert [frame.payload for frame in seen.journal.frames()] == [b"running"]
        with pytest.raises(TypeError):
            seen.journal.beat(1)


def test_a_network_file_system_is_recognised(tmp_path: Path) -> None:
    """The longest mount point that holds a path decides."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {tmp_path} rw shared:1 - nfs4 server:/export rw\n"
    )
    assert kind_of(str(tmp_path / "state"), str(mounts)) == "nfs4"
    assert kind_of("/usr", str(mounts)) == "ext4"
    assert kind_of("/usr", str(tmp_path / "absent")) == ""


def test_the_map_is_fully_allocated_before_it_is_used(
    tmp_path: Path, shm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk without room refuses the allocation, and the next place is tried."""

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    mine = journals(tmp_path / "state", shm)
    assert mine.create(origin(mine), SIZE).path is None
    assert [file for _, _, files in os.walk(tmp_path) for file in files] == []


@pytest.mark.parametrize("holds", [False, True], ids=["deleted", "held, then deleted"])
def test_a_new_lock_that_is_tidied_away_is_made_anew(shm, tmp_path, monkeypatch, holds):
    """A sibling that starts at the same time may take it for a left-over: the journal still stands there."""
    flock, others = fcntl.flock, []

    def sweep_once(lock: int, how: int) -> None:
        if not others:
            (path,) = Path(shm).rglob("*.lock")
            others.append(os.open(path, os.O_RDWR))
            path.unlink()
            if holds:
                flock(others[0], fcntl.LOCK_EX)
        flock(lock, how)

    monkeypatch.setattr(locks.fcntl, "flock", sweep_once)
    mine = journals(tmp_path / "state", shm)
    journal = mine.create(origin(mine), SIZE)
    os.close(others[0])
    assert journal.path is not None
    assert journal.path.startswith(shm)
    assert mine.notes == []


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_lock_is_said_and_left_alone(tmp_path: Path, shm: str, kind: str) -> None:
    """Whether the worker lives cannot be told from it; the journal stays for whoever repairs that."""
    die_with_a_journal(tmp_path, shm)
    found = journals(tmp_path, shm)
    (name,) = found.names()
    lock = name.replace(".journal", ".lock")
    os.unlink(lock)
    (tmp_path / "elsewhere").touch()
    os.mkdir(lock) if kind == "folder" else os.symlink(tmp_path / "elsewhere", lock)
    assert list(found.orphans(any_destination=True)) == []
    assert list(found.orphans(any_destination=True)) == []
    (note,) = found.take_notes()
    assert note.endswith(f"{lock} is no file of this user")
    assert os.path.exists(name)
