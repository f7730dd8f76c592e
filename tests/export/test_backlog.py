"""What waits on disk, a file at a time: what a backend has taken is not sent again by whoever comes next."""

from __future__ import annotations

import os

import pytest
from export_kit import Clock, record

from server_tracing.export.exporter import ExportError
from server_tracing.export.sending.backlog import Backlog
from server_tracing.export.sending.delivery import Verdict, attempt
from server_tracing.export.sending.parcel import Parcel
from server_tracing.export.sending.spool import Spool
from server_tracing.export.sending.spool_file import MAX_FILE
from server_tracing.record import Request, Running

RECORDS = [record(number) for number in range(1, 6)]


@pytest.fixture
def spool(tmp_path):
    clock = Clock()
    spool = Spool(str(tmp_path / "spool" / "backend"), "closer", size=1 << 20, age=60.0, wall=clock.ns)
    Spool.publish(spool.write(RECORDS, "j1", 100))
    return spool


def takes(count: int, *, refused: int = 0, why: str = "206"):
    """A backend that takes the first `count` records, and refuses some of them."""

    def export(records):
        raise ExportError(why, remaining=records[count:], refused=refused)

    return export


def killed(backlog: Backlog) -> None:
    """Its locks are free, and nothing else was done."""
    backlog.leave()


def paths(parcel: Parcel | None) -> list[str]:
    return [one.path for one in parcel.records if isinstance(one, Request)] if parcel else []


def try_once(backlog: Backlog, export) -> None:
    parcel = backlog.pick_up()
    backlog.put_down(attempt(export, parcel.records))


def test_who_comes_after_a_kill_sends_what_is_left(spool):
    """Also after the second of them; in the end it is all accounted for."""
    first, second, third = Backlog(spool), Backlog(spool), Backlog(spool)
    try_once(first, takes(2))
    killed(first)
    assert paths(second.pick_up()) == ["/3", "/4", "/5"]
    try_once(second, takes(2, refused=1))
    killed(second)
    assert paths(third.pick_up()) == ["/5"]
    third.put_down(Verdict())
    (closed,) = spool.collect()
    assert (closed.delivered, closed.dropped, closed.requests) == (4, {"refused": 1}, 5)


def test_a_part_of_a_record_may_have_been_taken(spool):
    """What is left of it is what is sent."""
    backlog, heir = Backlog(spool), Backlog(spool)
    half = record(1, unsent=[7])
    backlog.pick_up()
    backlog.put_down(attempt(takes(0), [half]))
    killed(backlog)
    assert heir.pick_up().records == [half]


def test_what_only_says_how_things_stand_is_not_noted(spool):
    """By the time somebody reads it, it may be wrong."""
    backlog, heir = Backlog(spool), Backlog(spool)
    held = spool.claim()
    assert backlog.take(held, Parcel([Running(record(1)), record(2)], delivered=4))
    killed(backlog)
    assert paths(heir.pick_up()) == ["/2"]


def test_a_file_that_nothing_was_taken_of_is_left_to_others(spool):
    """And nothing is written into it."""
    backlog, size = Backlog(spool), file_size(spool)
    try_once(backlog, takes(0))
    assert paths(Backlog(spool).pick_up()) == ["/1", "/2", "/3", "/4", "/5"]
    assert file_size(spool) == size


def test_one_file_in_hand_is_enough(spool):
    """Another one has to wait."""
    backlog = Backlog(spool)
    backlog.pick_up()
    Spool.publish(spool.write(RECORDS, "j2", 100))
    assert backlog.take(spool.claim(), Parcel(RECORDS)) is False


def test_where_no_note_can_be_written_all_is_sent_again(spool, monkeypatch):
    """A full disk takes half of it: that half must not hide the next note."""
    backlog, size = Backlog(spool), file_size(spool)
    monkeypatch.setattr(os, "write", lambda file, data, write=os.write: write(file, data[: len(data) // 2]))
    try_once(backlog, takes(2))
    assert file_size(spool) == size
    assert paths(backlog.pick_up()) == ["/3", "/4", "/5"]  # we know it all the same
    monkeypatch.undo()
    try_once(backlog, takes(1))
    killed(backlog)
    assert paths(Backlog(spool).pick_up()) == ["/4", "/5"]


def test_a_file_is_never_made_too_large_to_be_read(spool):
    """What is too large is not ours."""
    backlog = Backlog(spool)
    backlog.pick_up()
    os.truncate(path_of(spool), MAX_FILE - 10)
    backlog.put_down(attempt(takes(2), RECORDS))
    assert file_size(spool) == MAX_FILE - 10


def test_a_note_cut_anywhere_is_none(spool):
    """Then all is sent again, with the same ids, and counted once."""
    backlog, before = Backlog(spool), file_size(spool)
    try_once(backlog, takes(2))
    killed(backlog)
    for size in range(file_size(spool) - 1, before - 1, -1):
        os.truncate(path_of(spool), size)
        heir = Backlog(spool)
        assert paths(heir.pick_up()) == ["/1", "/2", "/3", "/4", "/5"]
        heir.leave()


def test_a_note_that_claims_too_much_is_not_believed(spool):
    """A file cannot account for more than it was written with: it is damaged, and counted as that."""
    backlog = Backlog(spool)
    held = spool.claim()
    assert backlog.take(held, Parcel(RECORDS, delivered=3))
    killed(backlog)
    heir = Backlog(spool)
    assert paths(heir.pick_up()) == []
    heir.close()
    assert [closed.dropped for closed in spool.collect()] == [{"damaged": 5}]


def path_of(spool: Spool) -> str:
    (name,) = os.listdir(spool.folder)
    return os.path.join(spool.folder, name)


def file_size(spool: Spool) -> int:
    return os.stat(path_of(spool)).st_size
