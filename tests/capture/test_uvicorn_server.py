"""Responses that an application has finished and a transport has not."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from server_tracing.capture.uvicorn_server import UvicornServer


class Transport:
    """What a connection goes over."""

    closing = False

    def is_closing(self) -> bool:
        return self.closing


class Cycle:
    """One request on it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.disconnected = False
        self.response_complete = False

    async def send(self, message: Any) -> None: ...


class Protocol:
    """One connection."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.cycle = Cycle(self.transport)


class Case:
    """A server, a connection, and what it told of its response."""

    def __init__(self) -> None:
        self.server = UvicornServer()
        self.protocol = Protocol()
        self.cycle = self.protocol.cycle
        self.ended: deque[tuple[bool, bool]] = deque()

    def finish(self) -> None:
        """The application returned after the last byte was handed over."""
        if self.server.is_sent(self.cycle):
            self.ended.append((False, False))
        else:
            self.server.when_sent(self.cycle, lambda lost, late: self.ended.append((lost, late)))

    def nothing_is_kept(self) -> bool:
        """What was remembered is forgotten."""
        return not (self.server._buffered or self.server._paused or self.server._closing)


@pytest.fixture
def case() -> Case:
    return Case()


def test_a_small_response_is_sent_at_once(case: Case) -> None:
    """The socket took it."""
    case.finish()
    assert list(case.ended) == [(False, False)]


def test_a_large_response_is_sent_when_the_buffer_has_drained(case: Case) -> None:
    """The record ends then."""
    case.server.paused(case.protocol)
    case.finish()
    assert not case.ended
    case.server.resumed(case.protocol)
    assert list(case.ended) == [(False, True)]
    assert case.nothing_is_kept()


@pytest.mark.parametrize("finishes_first", [True, False])
def test_a_large_response_is_lost_with_its_connection(case: Case, finishes_first: bool) -> None:
    """Whether the application or the connection ends first."""
    case.server.paused(case.protocol)
    if finishes_first:
        case.finish()
    case.protocol.transport.closing = True
    case.server.closed(case.protocol, ConnectionResetError())
    if not finishes_first:
        case.finish()
    case.server.forget(case.cycle)
    assert list(case.ended) == [(True, True)]
    assert case.nothing_is_kept()


@pytest.mark.parametrize(("error", "lost"), [(None, False), (ConnectionResetError(), True)])
def test_the_last_response_of_a_connection_waits_for_its_close(
    case: Case, error: Exception | None, lost: bool
) -> None:
    """A transport that is closing was told to, or could not write: it says which when it is closed."""
    case.protocol.transport.closing = True
    case.finish()
    assert not case.ended
    case.server.closed(case.protocol, error)
    assert list(case.ended) == [(lost, False)]
    assert case.nothing_is_kept()


def test_an_application_may_outlast_its_connection(case: Case) -> None:
    """There is nothing left to wait for."""
    case.protocol.transport.closing = True
    case.server.closed(case.protocol, None)
    case.finish()
    assert list(case.ended) == [(False, False)]
    assert case.nothing_is_kept()


def test_a_connection_is_what_serves_it(case: Case) -> None:
    """uvicorn's `send` is a method of the cycle; of anything else nothing is known."""

    async def send(message: Any) -> None: ...

    assert case.server.connection(case.cycle.send) is case.cycle
    assert case.server.connection(send).disconnected is False
