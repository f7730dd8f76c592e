"""Attacks by other users of the machine: in shared directories, and by a worker on root, who started it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from believable import request
from dead_worker import image
from export_kit import Clock, Worker, origin

from server_tracing import last_good
from server_tracing.commands.common import as_owner
from server_tracing.config import load
from server_tracing.export.sending.spool import Spool
from server_tracing.journal.journals import Journals
from server_tracing.statedir import StateDirError, ensure_private_dir
from server_tracing.store import Store, StoreError, View

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users at once")


@pytest.fixture
def room():
    """A directory like /tmp: everybody may put things there."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o1777)
        yield Path(folder)


@pytest.fixture
def precious(room):
    """A directory of ours with files that look like a worker's."""
    folder = room / "project"
    folder.mkdir(mode=0o700)
    for name in ("uv.lock", "a.journal", "0123456789abcdef.lock", "store.sqlite", "plan.new"):
        (folder / name).write_text("precious")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(errors="replace") for path in folder.iterdir()}


def journals(room: Path, **given) -> Journals:
    return Journals(str(room / "state"), service="shop", destinations="d", shm=str(room), **given)


def take_the_name(room: Path, precious: Path, how: str) -> None:
    """What somebody faster than us may leave where our folder for journals should be."""
    mine = journals(room)._folders
    above = Path(mine.shared).parent
    if how == "the folder is theirs, with a link in it":
        above.mkdir(mode=0o755)
        os.symlink(precious, mine.shared)
        os.chown(above, NOBODY, NOBODY)
    elif how == "everybody can write to it":
        above.mkdir()
        os.symlink(precious, mine.shared)
        above.chmod(0o777)
    else:
        os.symlink(precious, above)


@needs_root
@pytest.mark.parametrize(
    "how", ["the folder is theirs, with a link in it", "everybody can write to it", "it is a link"]
)
def test_a_folder_for_journals_that_somebody_made_first_is_not_used(room, precious, how):
    """Nothing is written there, nothing read and nothing swept away where it leads; ours stands elsewhere."""
    before = contents(precious)
    take_the_name(room, precious, how)
    mine = journals(room)
    mine.sweep()
    assert list(mine.orphans(any_destination=True)) == []
    assert list(mine.look()) == []
    journal = mine.create(origin("f" * 16), 1 << 16)
    assert Path(journal.path).parent == room / "state" / "journals"
    mine.remove(journal)
    assert contents(precious) == before


@needs_root
def test_a_journal_of_another_user_is_not_adopted(room):
    """Even in a folder of ours: their file would be ours to map, and theirs to cut."""
    mine = journals(room)
    journal = mine.create(origin("f" * 16), 1 << 16)
    planted = Path(journal.path).with_name("0" * 16 + ".journal")
    planted.write_bytes(image())
    planted.with_suffix(".lock").touch()
    os.chown(planted, NOBODY, NOBODY)
    assert list(journals(room).orphans(any_destination=True)) == []
    mine.remove(journal)


@pytest.mark.parametrize("suffix", [".journal", ".lock"])
def test_a_pipe_in_place_of_a_journals_file_keeps_nobody_waiting(room, suffix):
    """Opened as a file it would block until somebody writes."""
    mine = journals(room)
    journal = mine.create(origin("f" * 16), 1 << 16)
    os.mkfifo(Path(journal.path).with_name("0" * 16 + suffix))
    other = journals(room)
    other.sweep()
    assert list(other.orphans(any_destination=True)) == []
    assert len(list(other.look())) == 1
    mine.remove(journal)


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_state_directory_that_somebody_made_first_is_refused(room, mode):
    """By journals, store and spool alike: nothing of a request is written there."""
    state = room / "state"
    state.mkdir()
    state.chmod(mode)
    os.chown(state, NOBODY, NOBODY)
    with pytest.raises(StateDirError, match="belongs to nobody"):
        ensure_private_dir(str(state))
    with pytest.raises(StoreError, match="belongs to nobody") as refused:
        Store(str(state / "store.sqlite"))
    assert refused.value.reason == "unreachable"
    assert last_good.recall("1-1", str(state)) is None
    assert list(state.iterdir()) == []


@needs_root
def test_settings_that_somebody_left_are_not_taken_for_ours(room):
    """They name exporters, which is code."""
    state, loaded = room / "state", load({}, room)
    last_good.keep(loaded, "1-1", str(state))
    (left,) = state.iterdir() if state.exists() else (None,)
    assert left is not None
    os.chown(state, NOBODY, NOBODY)
    assert last_good.recall("1-1", str(state)) is None


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
def test_a_store_that_others_can_write_to_is_neither_written_nor_read(room, precious, suffix):
    """SQLite opens more files than the one it is told, and may follow a link."""
    state = room / "state"
    Store(str(state / "store.sqlite")).close()
    state.chmod(0o777)
    target = precious / "uv.lock"
    path = Path(f"{state / 'store.sqlite'}{suffix}")
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    for open_it in (Store, View.open):
        with pytest.raises(StoreError):
            open_it(str(state / "store.sqlite"))
    assert target.read_text() == "precious"


@needs_root
def test_a_store_of_another_user_in_our_directory_is_set_aside(room):
    """What we would write into it, they could read."""
    path = room / "state" / "store.sqlite"
    Store(str(path)).close()
    os.chown(path, NOBODY, NOBODY)
    store = Store(str(path))
    store.append([request(1)], "journal", 1)
    store.close()
    assert path.stat().st_uid == 0
    assert any("unusable" in name for name in os.listdir(path.parent))


@needs_root
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_root_that_looks_at_a_workers_store_is_led_nowhere(room, precious, suffix):
    """A worker may replace its files by links while root asks what happened."""
    state = room / "state"
    Store(str(state / "store.sqlite")).close()
    for path in (state, *state.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    target = precious / "uv.lock"
    path = Path(f"{state / 'store.sqlite'}{suffix}")
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    with contextlib.suppress(StoreError), as_owner(str(state)):
        View.open(str(state / "store.sqlite")).close()
    assert (os.geteuid(), target.read_text(), target.stat().st_uid) == (0, "precious", 0)
    assert not list(precious.glob("uv.lock?*"))


@needs_root
def test_a_state_directory_is_handed_over_once_and_not_to_whoever_asks(room, precious):
    """The worker's user replaces it by a link before root's next start."""
    state = room / "state"
    ensure_private_dir(str(state), NOBODY, NOBODY)
    shutil.rmtree(state)
    state.symlink_to(precious)
    with pytest.raises(StateDirError, match="symbolic link"):
        ensure_private_dir(str(state), NOBODY, NOBODY)
    assert precious.stat().st_uid == 0


def test_everything_a_worker_leaves_is_private(room):
    """Files 0600 in directories 0700, whatever the umask: journal, lock, store, spool and lines."""
    before = os.umask(0)
    try:
        mine = journals(room)
        journal = mine.create(origin("f" * 16), 1 << 16)
        worker = Worker(journal=journal, journals=mine, folder=room / "state", clock=Clock())
        worker.serve("/a")
        spool = Spool(str(room / "state" / "spool" / "b-d"), "f" * 16, size=1 << 20, age=60.0)
        spool.write([request(1)], "f" * 16, 1)
        store = Store(str(room / "state" / "store.sqlite"))
        store.append([request(1)], "journal", 1)
        last_good.keep(load({}, room), last_good.identity(os.getpid()), str(room / "state"))
        found = [Path(folder, name) for folder, dirs, files in os.walk(room) for name in (*dirs, *files)]
        assert len(found) > 10
        for path in found:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        store.close()
        mine.remove(journal)
    finally:
        os.umask(before)
