"""Vitals: how the worker is, and -1 where nobody tells."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import msgspec
import psutil
import pytest
from export_kit import Clock, Worker, origin

from server_tracing.export.chores import VITALS_EVERY, Vitals
from server_tracing.export.vitals import UNKNOWN, Gauge, accept_queue
from server_tracing.journal.journals import Journals
from server_tracing.record import Fault, Kind, Outcome, WorkerVitals
from server_tracing.record import Vitals as Reading


def test_a_process_knows_how_it_is():
    """Memory, processor, threads and files of this very process."""
    stamps = iter((5, 7))
    vitals = Gauge(clock=stamps.__next__).read(3, 4)
    assert (vitals.stamp, vitals.in_flight, vitals.served) == (7, 3, 4)
    assert vitals.rss > 1 << 20
    assert vitals.threads >= 1
    assert vitals.files >= 3
    assert vitals.available > 0


def test_a_moment_has_no_percentage():
    """The first vitals are read at once; of two microseconds, a share of the processor says nothing."""
    stamps = iter((0, 2000, 15 * 10**9))
    gauge = Gauge(clock=stamps.__next__)
    first, second = gauge.read(0, 0), gauge.read(0, 0)
    assert (first.cpu, first.machine_cpu) == (UNKNOWN, UNKNOWN)
    assert min(second.cpu, second.machine_cpu) >= 0


def test_what_the_system_does_not_tell_is_unknown():
    """A container may forbid any of it."""

    class Silent(psutil.Process):
        def memory_info(self):
            raise psutil.AccessDenied

        def num_fds(self):
            raise OSError

    vitals = Gauge(Silent()).read(0, 0)
    assert (vitals.rss, vitals.files) == (UNKNOWN, UNKNOWN)


def settles_at(expected, files):
    """The kernel may still be busy with the last handshake when `connect` returns."""
    until = time.monotonic() + 10
    while accept_queue(files) != expected and time.monotonic() < until:
        os.sched_yield()
    return accept_queue(files) == expected


def test_clients_that_wait_to_be_accepted_are_counted():
    """Of every socket that is asked about; the sockets stay open."""
    with ExitStack() as opened:
        servers = [opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=8)) for _ in range(2)]
        for server in (servers[0], *servers):
            opened.enter_context(socket.create_connection(server.getsockname()))
        files = [server.fileno() for server in servers]
        assert settles_at(3, files)
        servers[0].accept()[0].close()
        assert settles_at(2, files)


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_a_socket_that_does_not_listen_on_tcp_tells_nothing(family):
    """Unix sockets and clients."""
    with socket.socket(family, socket.SOCK_STREAM) as one:
        if family == socket.AF_UNIX:
            one.bind("")
            one.listen()
        assert accept_queue() == UNKNOWN


def test_vitals_are_written_every_so_often():
    """At the first wake, and then every 15 s."""
    worker = Worker()
    reading = Reading(1, 2, 3.0, 4, 5, 6, 7)

    class Fixed:
        def read(self, in_flight: int, served: int) -> Reading:
            return reading

    chore = Vitals(worker.journal, worker.source.joiner, make_gauge=Fixed)
    for now in (0.0, 1.0, VITALS_EVERY - 1, VITALS_EVERY, VITALS_EVERY + 1):
        chore(now)
    written = [frame for frame in worker.journal.frames() if frame.kind == Kind.VITALS]
    assert [msgspec.msgpack.decode(frame.payload, type=Reading).rss for frame in written] == [reading.rss] * 2


# ---------------------------------------------------------------- what ended in a window


@pytest.fixture
def clock():
    return Clock()


class Windows:
    """A worker whose vitals close a window every minute, and what was told of its requests."""

    def __init__(self, tmp_path, clock, name="0123456789abcdef"):
        journals = Journals(str(tmp_path), service="shop", destinations="d", shm=str(tmp_path))
        journal = journals.create(origin(name, state_dir=str(tmp_path)), 1 << 18)
        self.worker = Worker(journal=journal, journals=journals, clock=clock)
        self.chore = Vitals(
            journal,
            self.worker.source.joiner,
            lambda: self.worker.source.counts,
            60.0,
            lambda: SimpleNamespace(read=lambda *_: Reading(clock.ns(), 2, 3.0, 4, 5, 6, 7)),
        )

    def serve(self, count: int, **given: Any) -> None:
        for _ in range(count):
            self.worker.serve("/", **given)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds // 5):
            self.worker.wake(5.0)
            self.chore(self.worker.clock.now)
        self.worker.wake(0.1)

    def told(self) -> list[WorkerVitals]:
        return [one for one in self.worker.memory.records if isinstance(one, WorkerVitals) and one.counts]

    def total(self) -> int:
        return sum(one.counts.requests for one in self.told())


def test_every_window_tells_what_ended_in_it(tmp_path, clock):
    """Each stands for itself, and together they are all requests."""
    windows = Windows(tmp_path, clock)
    windows.pass_time(5)
    for count in (3, 0, 7):
        windows.serve(count)
        windows.pass_time(60)
    assert [one.counts.requests for one in windows.told()] == [3, 0, 7]
    assert [one.counts.timed for one in windows.told()] == [3, 0, 7]
    assert [round(one.window_ms / 1000) for one in windows.told()] == [60, 60, 60]
    assert windows.told()[0].counts.busy_ms == pytest.approx(30.0)


def test_exceptions_and_endless_requests_are_told_apart(tmp_path, clock):
    """An event stream has no duration that says anything."""
    windows = Windows(tmp_path, clock)
    windows.pass_time(5)
    windows.serve(2, outcome=Outcome.ERROR, fault=Fault("KeyError", "x"))
    windows.serve(1, event_stream=True)
    windows.pass_time(60)
    (one,) = windows.told()
    assert (one.counts.requests, one.counts.timed, one.counts.exceptions) == (3, 2, 2)


def test_the_last_window_is_closed_when_the_worker_ends(tmp_path, clock):
    """A worker that lives for seconds is counted, too; where nothing ended, nothing is told."""
    windows = Windows(tmp_path, clock)
    windows.pass_time(5)
    windows.serve(4)
    windows.worker.wake(1.0)
    windows.chore.finish(clock.now)
    windows.chore.finish(clock.now)
    windows.worker.wake(1.0)
    assert [one.counts.requests for one in windows.told()] == [4]


@pytest.mark.parametrize("before", [0, 5])
def test_what_a_killed_worker_could_not_tell_is_told_by_its_heir(tmp_path, clock, before):
    """Counts are exact, also of what was delivered before the kill, and of what was in flight."""
    dead = Windows(tmp_path, clock)
    dead.pass_time(5)
    dead.serve(before)
    dead.pass_time(60)
    dead.serve(3)
    dead.worker.wake(1.0)
    dead.serve(2)
    dead.worker.begin("/in-flight")
    dead.worker.journal.beat(clock.ns() + 1)
    dead.worker.journals.release(dead.worker.journal)
    heir = Windows(tmp_path, clock, "fedcba9876543210")
    for _ in range(4):
        heir.worker.wake(2.0)
    assert dead.total() == before
    assert [one.counts.requests for one in heir.told()] == [6]
    assert heir.told()[0].window_ms > 0


def test_requests_for_which_the_journal_had_no_room_are_counted(tmp_path, clock):
    """They were served."""
    windows = Windows(tmp_path, clock)
    windows.pass_time(5)
    windows.serve(4000)
    assert windows.worker.journal.lost > 0
    windows.pass_time(60)
    assert windows.total() == 4000


def test_where_nobody_asks_no_window_is_closed(tmp_path):
    """The vitals are as they were."""
    worker = Worker()
    chore = Vitals(worker.journal, worker.source.joiner)
    chore(0.0)
    worker.serve("/")
    worker.wake()
    chore(1000.0)
    chore.finish(1000.0)
    worker.wake()
    assert all(one.window_ms == 0 for one in worker.memory.records if isinstance(one, WorkerVitals))
