"""The spool: what a backend could not take yet, bounded, private, and exact through every kill."""

from __future__ import annotations

import os
import socket
import stat
from datetime import datetime, timezone

import pytest
from export_kit import SECOND, Clock, record

from server_tracing.export.sending.spool import Spool
from server_tracing.export.sending.spool_file import pack, unpack
from server_tracing.export.sending.spool_names import DONE, PART, SPOOL, Name
from server_tracing.record import Event

EVENT = Event(time=datetime(2026, 1, 1, tzinfo=timezone.utc), service="shop", worker_pid=1, what="boot")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def spool(tmp_path, clock):
    return make(tmp_path, clock)


def make(folder, clock, closer="closer", **given) -> Spool:
    fixed = {"size": 1 << 20, "age": 3600.0, "wall": clock.ns}
    return Spool(str(folder / "spool" / "backend"), closer, **{**fixed, **given})


def files(spool: Spool, suffix: str) -> list[str]:
    return sorted(file for file in os.listdir(spool.folder) if file.endswith(suffix))


def put(spool: Spool, *records, journal="j1", upto=100) -> str:
    part = spool.write(records, journal, upto)
    spool.publish(part)
    return part


def test_what_is_written_is_read_back(spool):
    """Requests and everything else, field by field."""
    put(spool, record(1), EVENT, record(2))
    claimed = spool.claim()
    assert spool.read(claimed).records == [record(1), EVENT, record(2)]
    assert claimed.name == Name(1000 * SECOND, "j1", 100, 2)  # events are in no account


def test_it_is_private(spool):
    """Files 0600 in directories 0700."""
    put(spool, record())
    (file,) = files(spool, SPOOL)
    assert stat.S_IMODE(os.stat(os.path.join(spool.folder, file)).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(spool.folder).st_mode) == 0o700


def test_nothing_is_delivered_before_its_journal_knows(spool):
    """A part is nobody's to send."""
    part = spool.write([record()], "j1", 100)
    assert spool.claim() is None
    assert spool.waiting() == 0
    spool.publish(part)
    assert spool.waiting() == 1


def test_the_oldest_file_comes_first_and_to_one_alone(spool, tmp_path, clock):
    """Two workers share a folder and never a file."""
    put(spool, record(1))
    clock.advance(1)
    put(spool, record(2))
    other = make(tmp_path, clock, "other")
    mine, theirs = spool.claim(), other.claim()
    assert [spool.read(mine).records[0].path, other.read(theirs).records[0].path] == ["/1", "/2"]
    assert spool.claim() is None
    spool.give_up(mine)
    assert other.read(other.claim()).records[0].path == "/1"


def test_a_closed_file_is_counted_and_then_gone(spool):
    """Until it is counted, it is marked as dealt with."""
    put(spool, record(1), record(2))
    spool.close(spool.claim(), 2, {})
    assert spool.claim() is None
    assert len(files(spool, DONE)) == 1
    (closed,) = spool.collect()
    assert (closed.number, closed.requests, closed.delivered, closed.dropped) == (1, 2, 2, {})
    closed.remove()
    assert os.listdir(spool.folder) == []


def test_the_oldest_files_go_when_it_grows_too_large(tmp_path, clock):
    """And their requests are counted."""
    content = len(pack([record(1)]))
    spool = make(tmp_path, clock, size=2 * content + 10)
    for number in (1, 2, 3, 4):
        put(spool, record(number))
        clock.advance(1)
        spool.trim()
    assert [closed.dropped for closed in spool.collect()] == [{"spool_full": 1}] * 2
    assert spool.read(spool.claim()).records[0].path == "/3"


def test_what_is_too_old_is_dropped_and_counted(tmp_path, clock):
    """A backend that refuses old records is not sent any."""
    spool = make(tmp_path, clock, age=60.0)
    put(spool, record())
    claimed = spool.claim()
    assert not spool.is_stale(claimed)
    spool.give_up(claimed)
    clock.advance(61)
    spool.trim()
    assert [closed.dropped for closed in spool.collect()] == [{"too_old": 1}]


def test_a_file_truncated_anywhere_gives_whole_records_and_a_count(spool):
    """Never a crash, never a wrong record; what is missing is `damaged`."""
    records = [record(number) for number in (1, 2, 3)]
    content = pack(records)
    for length in range(len(content)):
        found = unpack(content[:length]).records
        assert found == records[: len(found)]
        assert len(found) < 3
    put(spool, *records)
    path = os.path.join(spool.folder, files(spool, SPOOL)[0])
    os.truncate(path, len(content) - 1)
    claimed = spool.claim()
    spool.close(claimed, len(spool.read(claimed).records), {})
    assert [(closed.delivered, closed.dropped) for closed in spool.collect()] == [(2, {"damaged": 1})]


def test_a_file_with_any_byte_flipped_never_gives_a_wrong_record():
    """Whatever bit it is."""
    records = [record(1), record(2)]
    content = bytearray(pack(records))
    for place in range(len(content)):
        for bit in (0x01, 0x80):
            content[place] ^= bit
            found = unpack(bytes(content)).records
            assert found == records[: len(found)]
            assert len(found) < 2
            content[place] ^= bit


@pytest.mark.parametrize(
    "name",
    [
        "x.spool",
        "1-2-3.spool",
        "a-b-c-d.spool",
        "-.spool",
        ".spool",
        f"1-j-1-{10**20}.spool",
        f"{10**40}-j-1-1.spool",
        f"1-j-{10**30}-1.spool",
        "1-j-1-².spool",
    ],
)
def test_files_of_others_are_left_alone(spool, name):
    """What is not called as ours are is not ours."""
    put(spool, record())
    open(os.path.join(spool.folder, name), "w").close()
    claimed = spool.claim()
    assert claimed.name.requests == 1
    assert spool.claim() is None


def test_a_link_is_not_followed(spool, tmp_path):
    """Nor is a pipe waited for."""
    put(spool, record())
    secret = tmp_path / "secret"
    secret.write_bytes(pack([record(9)]))
    base = os.path.join(spool.folder, "00000000000000000001-j1-1-1")
    os.symlink(secret, base + SPOOL)
    os.mkfifo(os.path.join(spool.folder, "00000000000000000002-j1-1-1" + SPOOL))
    assert spool.read(spool.claim()).records == [record()]


def test_a_folder_that_cannot_be_had_is_an_oserror(tmp_path, clock):
    """A file in its place, or somebody else's link."""
    (tmp_path / "spool").write_text("in the way")
    with pytest.raises(OSError, match="is a file"):
        make(tmp_path, clock).write([record()], "j1", 1)


def test_after_a_kill_acknowledged_parts_are_published_and_others_thrown_away(spool):
    """What the journal still holds must not be sent from here as well."""
    spool.write([record(1)], "dead", 100)
    spool.write([record(2)], "dead", 200)
    spool.write([record(3)], "alive", 300)
    assert spool.adopt("dead", acked=150, counted=0) == []
    assert [spool.read(spool.claim()).records[0].path, spool.claim()] == ["/1", None]
    assert len(files(spool, PART)) == 1


def test_after_a_kill_closed_files_are_counted_once(tmp_path, clock):
    """Those its checkpoint knows are only removed."""
    dead = make(tmp_path, clock, "dead")
    for number in (1, 2, 3):
        put(dead, record(number), upto=number)
        clock.advance(1)
    dead.close(dead.claim(), 1, {})
    dead.close(dead.claim(), 0, {"http 500!": 1})
    dead.close(dead.claim(), 1, {})
    left = make(tmp_path, clock, "heir").adopt("dead", acked=9, counted=1)
    assert [(closed.number, closed.delivered, closed.dropped) for closed in left] == [
        (2, 0, {"http_500_": 1}),
        (3, 1, {}),
    ]
    assert len(files(dead, DONE)) == 2


def test_after_a_kill_what_was_delivered_is_counted_to_the_request(tmp_path, clock):
    """Where a part was refused, the other part was delivered; of more reasons one stands for all."""
    dead = make(tmp_path, clock, "dead")
    put(dead, record(1), record(2), record(3), record(4))
    dead.close(dead.claim(), 1, {"refused": 1, "http 400": 2})
    (left,) = make(tmp_path, clock, "heir").adopt("dead", acked=9, counted=0)
    assert (left.delivered, left.dropped) == (1, {"http_400": 3})


def test_a_closed_file_cannot_claim_more_than_it_held(tmp_path, clock):
    """Whoever gave it its name."""
    dead = make(tmp_path, clock, "dead")
    put(dead, record(1))
    dead.close(dead.claim(), 0, {"refused": 1})
    (file,) = files(dead, DONE)
    path = os.path.join(dead.folder, file)
    os.rename(path, path.replace("refused-1", "refused-9"))
    (left,) = make(tmp_path, clock, "heir").adopt("dead", acked=9, counted=0)
    assert (left.delivered, left.dropped) == (0, {"refused": 1})


def test_what_is_done_when_the_accounts_are_closed_is_left_to_the_next(spool):
    """Nobody would count it: it is delivered again, rather than missed for ever."""
    put(spool, record(1))
    claimed = spool.claim()
    spool.seal()
    spool.close(claimed, 1, {})
    assert spool.collect() == []
    assert spool.waiting() == 1
    assert spool.read(spool.claim()).records == [record(1)]


def test_a_forked_child_holds_no_file(spool):
    """It would keep it from everybody for as long as it lives."""
    put(spool, record(1))
    claimed = spool.claim()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if not child:
            theirs.send(b"here")
            theirs.recv(1)
            os._exit(0)
        assert ours.recv(4) == b"here"
        spool.give_up(claimed)
        free = spool.claim()
        ours.send(b".")
        os.waitpid(child, 0)
    assert free is not None


def test_files_that_are_not_published_yet_take_room_already(tmp_path, clock):
    """Else the spool would be too large by what all workers are just writing."""
    spool = make(tmp_path, clock, size=len(pack([record(1)])) + 10)
    put(spool, record(1))
    clock.advance(1)
    spool.trim()
    assert spool.collect() == []
    spool.write([record(2)], "j1", 100)
    spool.trim()
    assert [closed.dropped for closed in spool.collect()] == [{"spool_full": 1}]


def test_what_other_settings_left_can_be_taken_over(tmp_path, clock):
    """With what waits, and without what is somebody's to finish."""
    old, new = make(tmp_path / "old", clock), make(tmp_path / "new", clock)
    put(old, record(1))
    old.write([record(2)], "j1", 200)
    new.take_over(old.folder)
    assert (new.waiting(), old.waiting(), len(files(old, PART))) == (1, 0, 1)


def test_what_nobody_comes_back_for_is_taken_away(spool, clock):
    """Left by a worker whose journal is lost as well: after two days."""
    spool.write([record(1)], "lost", 100)
    clock.advance(47 * 3600)
    spool.trim()
    assert len(files(spool, PART)) == 1
    clock.advance(2 * 3600)
    spool.trim()
    assert os.listdir(spool.folder) == []


def test_numbers_go_on_where_they_were(tmp_path, clock):
    """A closer's numbers never repeat."""
    spool = make(tmp_path, clock, first_close=7)
    put(spool, record())
    spool.close(spool.claim(), 1, {})
    assert spool.collect()[0].number == 8


def test_its_repr_says_what_waits(spool):
    """Where, and how many requests."""
    put(spool, record(1), record(2))
    assert repr(spool) == f"<Spool {spool.folder} · 2 requests waiting>"
