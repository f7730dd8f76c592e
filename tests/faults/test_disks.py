"""Disks that fail below a running worker: it goes on in memory, says so once, and recovers by itself."""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from believable import NOON, request
from disk_worker import FAULTS, REQUESTS
from export_kit import Clock, origin, record
from report import report

from server_tracing.export.exporter import Setup
from server_tracing.export.jsonl import JsonLinesExporter
from server_tracing.export.sending.spool import Spool
from server_tracing.journal.journals import HOMELESS, Journals
from server_tracing.journal.ring import MINIMAL_ROOM
from server_tracing.record import Kind
from server_tracing.store import Store, StoreError

PROGRAM = Path(__file__).with_name("disk_worker.py")
ALONE = ["unshare", "-m", "--propagation", "private"]


@lru_cache
def why_no_mounts() -> str:
    """Why this machine cannot make file systems for tests; "" if it can."""
    if not shutil.which("unshare"):
        return "there is no unshare"
    done = subprocess.run([*ALONE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    return f"no file system can be mounted here: {done.stderr.strip()}" if done.returncode else ""


def run(fault: str, folder: Path) -> dict:
    """What became of a worker under this fault."""
    prefix = [] if fault == "Deleted" else ALONE
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        [*prefix, sys.executable, str(PROGRAM), fault, str(folder)],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_outlives_its_disk(fault, tmp_path):
    """Nothing is dropped, every account is exact, and each trouble is said once, and once that it is over."""
    if fault != "Deleted" and (why := why_no_mounts()):
        pytest.skip(why)
    found = run(fault, tmp_path)
    assert (found["recovered"], found["journal stands"]) == (True, True), found
    assert (found["left"], found["spooled"]) == (0, {"down": 0})
    served = 3 * REQUESTS
    assert set(found["seen"].values()) == {served}, found
    assert set(found["pending"].values()) == {0}
    dropped = {name: sum(found["dropped"].get(name, {}).values()) for name in found["seen"]}
    assert {name: count + dropped[name] for name, count in found["delivered"].items()} == found["seen"]
    if fault == "Deleted":  # with what stood in the spool
        assert found["dropped"] == {} or found["dropped"]["down"].keys() == {"vanished"}
    else:
        assert found["dropped"] == {}
    assert max(found["said"].values(), default=0) == 1, found["said"]
    report(f"the disk:{re.sub('(?=[A-Z])', ' ', fault).lower()}", requests=served)


# ---------------------------------------------------------------- by injection, where nothing can be mounted


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.ENODEV, errno.EMFILE])
@pytest.mark.parametrize("call", ["open", "posix_fallocate", "mmap"])
def test_a_journal_that_cannot_be_made_is_kept_in_memory(call, code, tmp_path, monkeypatch):
    """Whatever the system refuses, and on whatever file system: one without mmap is ENODEV."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    real = mmap.mmap
    with monkeypatch.context() as patched:
        if call == "mmap":
            patched.setattr(
                mmap, "mmap", lambda file, *a, **k: refuse() if file >= 0 else real(file, *a, **k)
            )
        else:
            patched.setattr(os, call, refuse)
        journals = Journals(str(tmp_path / "state"), shm=str(tmp_path))
        journal = journals.create(origin(), 1 << 16)
        journals.keep(journal)
    assert journal.path is None
    assert journal.ring.write(Kind.BEGIN_TEXT, b"in memory", MINIMAL_ROOM)
    assert journals.take_notes()[-1] == HOMELESS
    assert [name for _, _, files in os.walk(tmp_path) for name in files] == []
    journals.keep(journal)
    assert journal.path is not None
    assert [frame.payload for frame in journal.frames()] == [b"in memory"]
    journals.remove(journal)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.ENOMEM])
def test_a_dead_workers_journal_that_cannot_be_opened_now_is_adopted_later(code, tmp_path, monkeypatch):
    """Too many open files are no damage."""
    mine = Journals(str(tmp_path / "state"), shm=str(tmp_path))
    mine.release(mine.create(origin(), 1 << 16))
    other = Journals(str(tmp_path / "state"), destinations="d", service="shop", shm=str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(mmap, "mmap", refuse)
        assert list(other.orphans()) == list(other.orphans()) == []
    assert len(other.take_notes()) == 1
    (journal,) = other.orphans()
    other.remove(journal)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_spool_file_that_breaks_off_is_taken_back(code, tmp_path, monkeypatch):
    """Half a file is nobody's to deliver."""
    spool = Spool(str(tmp_path / "spool" / "b-d"), "j", size=1 << 20, age=60.0, wall=Clock().ns)

    class Broken:
        def __init__(self, file: int, _mode: str) -> None:
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            os.close(self.file)

        def write(self, content: bytes) -> None:
            os.write(self.file, content[:10])
            raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", Broken)
        with pytest.raises(OSError, match=os.strerror(code)):
            spool.write([record()], "j", 1)
    assert os.strerror(code) in spool.trouble
    assert os.listdir(spool.folder) == []
    spool.write([record()], "j", 1)
    assert spool.trouble == ""


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("disk I/O error", "disk_error"),
        ("database or disk is full", "disk_full"),
        ("attempt to write a readonly database", "read_only"),
        ("unable to open database file", "unreachable"),
    ],
)
def test_whatever_the_store_cannot_do_has_a_reason_and_is_done_later(says, reason, tmp_path):
    """Half a transaction is none, and the next one may go well."""
    store = Store(str(tmp_path / "state" / "store.sqlite"), clock=NOON.timestamp)
    real = store._connection

    class Broken:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def execute(self, sql: str, values: tuple = ()) -> sqlite3.Cursor:
            if sql.startswith("INSERT INTO traces"):
                raise sqlite3.OperationalError(says)
            return real.execute(sql, values)

    store._connection = Broken()
    with pytest.raises(StoreError) as caught:
        store.append([request(1)], "journal", 1)
    assert caught.value.reason == reason
    store._connection = real
    assert (store.acked("journal"), list(store.query())) == (0, [])
    store.append([request(1)], "journal", 1)
    assert len(list(store.query())) == 1
    store.close()


def test_a_line_that_does_not_fit_is_not_left_by_half(tmp_path, monkeypatch):
    """It comes again, and then it is there once."""
    exporter = JsonLinesExporter(Setup(None, {}, "shop", str(tmp_path)))
    exporter.export([record(1)])
    real = os.write

    def short(file: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "full")
        return real(file, data[: len(data) - 10])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", short)
        with pytest.raises(Exception, match="full"):
            exporter.export([record(2)])
    exporter.export([record(2)])
    lines = Path(exporter.path).read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["/1", "/2"]
