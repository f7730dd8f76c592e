"""Journals that lose their place, or find none: recording goes on in memory, and moves to a file again."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from pathlib import Path

import pytest
from export_kit import Clock, Worker

from server_tracing.export.chores import HOME_EVERY, Home
from server_tracing.journal import Journal
from server_tracing.journal.journals import HOMELESS, Journals
from server_tracing.journal.ring import MINIMAL_ROOM
from server_tracing.record import Event, Kind

SIZE = 1 << 20


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where journals stand: /dev/shm in miniature."""
    folder = tmp_path / "shm"
    folder.mkdir()
    return folder


@pytest.fixture
def journals(tmp_path: Path, place: Path) -> Journals:
    return again(tmp_path)


def again(tmp_path: Path) -> Journals:
    """As another process would come by it."""
    shm = str(tmp_path / "shm")
    return Journals(str(tmp_path / "state"), service="shop", destinations="d", shm=shm)


def start(journals: Journals) -> Journal:
    return journals.create(journals.origin("test 1"), SIZE)


def write(journal: Journal, payload: bytes) -> None:
    assert journal.ring.write(Kind.BEGIN_TEXT, payload, MINIMAL_ROOM)


def die(journals: Journals, journal: Journal) -> None:
    journals.release(journal)


def heirs(tmp_path: Path) -> list[list[bytes]]:
    """What others find of it."""
    journals, found = again(tmp_path), []
    for journal in journals.orphans():
        found.append([frame.payload for frame in journal.frames()])
        journals.release(journal)
    return found


def lose_directory(journal: Journal) -> None:
    shutil.rmtree(os.path.dirname(str(journal.path)))


def lose_journal(journal: Journal) -> None:
    os.unlink(str(journal.path))


def lose_lock(journal: Journal) -> None:
    os.unlink(str(journal.path).replace(".journal", ".lock"))


def lose_both_to_another(journal: Journal) -> None:
    lose_journal(journal)
    Path(str(journal.path)).write_bytes(b"another file")


@pytest.mark.parametrize("lose", [lose_directory, lose_journal, lose_lock, lose_both_to_another])
def test_a_journal_that_was_deleted_below_its_worker_is_kept_again(tmp_path, journals, lose):
    """With everything in it; and a later kill costs nothing."""
    journal = start(journals)
    write(journal, b"before")
    lose(journal)
    write(journal, b"meanwhile")
    journals.keep(journal)
    write(journal, b"after")
    assert [HOMELESS in note for note in journals.take_notes()] == [True, False]
    assert heirs(tmp_path) == [], "its worker lives"
    die(journals, journal)
    assert heirs(tmp_path) == [[b"before", b"meanwhile", b"after"]]


def test_one_whose_lock_was_deleted_is_nobody_elses_meanwhile(tmp_path, journals):
    """A lock that is missing is no proof of death; only `recover`, which a person calls, takes it for one."""
    lose_lock(start(journals))
    assert heirs(tmp_path) == []


def test_one_that_found_no_room_moves_in_when_there_is_some(tmp_path, place):
    """It is said once that there was none, and once that there is."""
    (tmp_path / "state").write_text("in the way")
    os.rmdir(place)
    place.write_text("in the way")
    journals = again(tmp_path)
    journal = start(journals)
    assert journal.path is None
    assert journals.take_notes()[-1] == HOMELESS
    write(journal, b"in memory")
    for _ in range(3):
        journals.keep(journal)
    assert journals.take_notes() == []
    place.unlink()
    place.mkdir()
    journals.keep(journal)
    assert [note.split(" in ")[0] for note in journals.take_notes()] == ["the journal is kept"]
    die(journals, journal)
    assert heirs(tmp_path) == [[b"in memory"]]


def test_it_moves_while_requests_go_on(tmp_path, journals):
    """Not a frame is lost or torn, however busy the worker is."""
    journal = start(journals)
    over, written = threading.Event(), [0] * 3

    def serve(thread: int) -> None:
        while not over.is_set() and journal.ring.write(Kind.NOTE, b"%d %d" % (thread, written[thread]), 0):
            written[thread] += 1

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        lose_journal(journal)
        journals.keep(journal)
    over.set()
    for thread in threads:
        thread.join()
    die(journals, journal)
    (found,) = heirs(tmp_path)
    for thread, count in enumerate(written):
        mine = [payload for payload in found if payload.startswith(b"%d " % thread)]
        assert mine == [b"%d %d" % (thread, number) for number in range(count)]


def test_the_worker_sees_to_it_by_itself(tmp_path, journals, caplog):
    """A few seconds later, with a line and an event when it is lost, and when it is kept again."""
    worker, journal = Worker(journal=start(journals), clock=Clock()), None
    journal = worker.journal
    home = Home(journal, journals)
    home(1.0)
    worker.serve("/before")
    lose_directory(journal)
    home(1.0 + HOME_EVERY / 2)
    assert not os.path.exists(str(journal.path))
    for wake in range(1, 4):
        home(1.0 + HOME_EVERY * wake)
    assert os.path.exists(str(journal.path))
    assert journal.moves == 1, "and whatever stands beside it is to be made again"
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    worker.begin("/stuck")
    worker.wake()
    die(journals, journal)
    heir = Worker(journals=again(tmp_path), folder=tmp_path, clock=worker.clock)
    heir.wake(2.0)
    heir.wake(2.0)
    assert worker.paths + heir.paths == ["/before", "/stuck"]
    events = [one for one in (*worker.memory.records, *heir.memory.records) if isinstance(one, Event)]
    assert [(event.what, HOMELESS in event.detail) for event in events] == [
        ("journal", True),
        ("journal", False),
    ]
