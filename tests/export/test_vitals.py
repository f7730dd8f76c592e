"""Vitals: how the worker is, and -1 where nobody tells."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack

import msgspec
import psutil
import pytest
from export_kit import Worker

from server_tracing.export.chores import VITALS_EVERY, Vitals
from server_tracing.export.vitals import UNKNOWN, Gauge, accept_queue
from server_tracing.record import Kind
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


def settles_at(expected):
    """The kernel may still be busy with the last handshake when `connect` returns."""
    until = time.monotonic() + 10
    while accept_queue() != expected and time.monotonic() < until:
        os.sched_yield()
    return accept_queue() == expected


def test_clients_that_wait_to_be_accepted_are_counted():
    """Of every socket this process listens on; the sockets stay open."""
    before = max(accept_queue(), 0)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as server, ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(socket.create_connection(server.getsockname()))
        assert settles_at(before + 3)
        server.accept()[0].close()
        assert settles_at(before + 2)


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

    chore = Vitals(worker.journal, worker.source.joiner, Fixed)
    for now in (0.0, 1.0, VITALS_EVERY - 1, VITALS_EVERY, VITALS_EVERY + 1):
        chore(now)
    written = [frame for frame in worker.journal.frames() if frame.kind == Kind.VITALS]
    assert [msgspec.msgpack.decode(frame.payload, type=Reading) for frame in written] == [reading] * 2
