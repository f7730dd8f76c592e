"""The recorder: what is written of a request, and that nothing a request holds can harm it."""

from __future__ import annotations

import mmap
import threading
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_tracing.capture.recorder import Recorder
from server_tracing.journal import Journal, initialise, total_size
from server_tracing.journal.ring import MINIMAL_END
from server_tracing.record import Begin, End, Fault, Kind, Mark, Origin, Outcome

ORIGIN = Origin(id="a" * 16, seed=b"s" * 16, pid=1, service="shop", destinations="d", state_dir="/s")


def recorder(size: int = 1 << 20, **options: Any) -> Recorder:
    journal: Journal = initialise(mmap.mmap(-1, total_size(size)), ORIGIN, size)
    ticks = count(1000)
    return Recorder(journal, clock=lambda: next(ticks), **options)


def begin_text(to: Recorder, **changes: Any) -> Any:
    known = {
        "method": "GET",
        "target": "/a?b=c",
        "version": "1.1",
        "scheme": "http",
        "client": "1.2.3.4",
        "port": 5,
    }
    return to.begin_text(*(known | changes).values(), changes.pop("headers", ()))  # type: ignore[arg-type]


def frames(of: Recorder) -> list[tuple[int, bytes]]:
    return [(frame.kind, frame.payload) for frame in of.journal.frames()]


def decoded(payload: bytes, kind: Any) -> Any:
    return msgspec.msgpack.decode(payload, type=kind)


def test_a_request_leaves_a_begin_and_an_end() -> None:
    """What was known at the beginning, and what became of it."""
    to = recorder()
    slot = to.begin_text("GET", "/a?b=c", "1.1", "http", "1.2.3.4", 5, [("HOST", "shop")])
    slot.first_byte = 1001
    to.end(slot, Outcome.OK, 200, 512, 7)
    (first, begin), (second, end) = frames(to)
    assert (first, second) == (Kind.BEGIN_TEXT, Kind.END)
    assert decoded(begin, Begin[str]) == Begin(
        1, 1000, "GET", "/a?b=c", "1.1", "http", "1.2.3.4", 5, [("HOST", "shop")], threading.get_ident()
    )
    assert decoded(end, End) == End(1, 1001, 0, 200, 1001, 512, 7)
    assert to.open == {}


def test_an_asgi_request_is_kept_in_bytes() -> None:
    """Nothing is decoded in the request."""
    to = recorder()
    to.begin_bytes("GET", b"/\xff", "2", "https", "", 0, [(b"host", b"h\xff"), (b"cookie", b"secret")])
    [(kind, begin)] = frames(to)
    assert kind == Kind.BEGIN_BYTES
    assert decoded(begin, Begin[bytes]).headers == [(b"host", b"h\xff")]
    assert decoded(begin, Begin[bytes]).target == b"/\xff"


def test_cookies_and_credentials_never_enter_the_journal_even_when_asked_for() -> None:
    """The allow-list has a deny-list above it."""
    to = recorder(headers=["Cookie", "Authorization", "X-Tenant"])
    to.begin_text(
        "GET", "/", "1.1", "http", "", 0, [("COOKIE", "s"), ("AUTHORIZATION", "s"), ("X-TENANT", "t")]
    )
    [(_, begin)] = frames(to)
    assert decoded(begin, Begin[str]).headers == [("X-TENANT", "t")]


def test_everything_said_of_an_end_arrives() -> None:
    """The details of an unusual end are all written."""
    to = recorder()
    slot = to.begin_text("GET", "/", "1.1", "ws", "", 0, ())
    fault = Fault("ValueError", "no")
    to.end(
        slot,
        Outcome.ERROR,
        101,
        reason="r",
        cpu=5,
        route="/x",
        fault=fault,
        close_code=1000,
        messages_in=2,
        messages_out=3,
        event_stream=True,
    )
    end = decoded(frames(to)[1][1], End)
    assert (end.reason, end.cpu, end.route, end.fault) == ("r", 5, "/x", fault)
    assert (end.close_code, end.messages_in, end.messages_out, end.event_stream) == (1000, 2, 3, True)


def test_the_second_end_of_a_request_is_ignored() -> None:
    """Two sightings, one record."""
    to = recorder()
    slot = to.begin_text("GET", "/", "1.1", "http", "", 0, ())
    to.end(slot, Outcome.ERROR, 500)
    to.end(slot, Outcome.OK, 200)
    assert [kind for kind, _ in frames(to)] == [Kind.BEGIN_TEXT, Kind.END]


def test_a_refused_request_is_a_whole_record() -> None:
    """Begin and end in one, with the reason."""
    to = recorder()
    to.rejected("", "", "", "http", "1.2.3.4", 9, (), 400, "Invalid Request Line")
    end = decoded(frames(to)[1][1], End)
    assert (end.outcome, end.status, end.reason) == (Outcome.REJECTED, 400, "Invalid Request Line")


def test_an_end_that_cannot_be_encoded_is_written_in_its_minimal_form() -> None:
    """Lone surrogates in a message, a status beyond 64 bits: the request has still ended."""
    to = recorder()
    for details in ({"fault": Fault("E", "\ud800")}, {"reason": "\udfff"}):
        to.end(to.begin_text("GET", "/", "1.1", "http", "", 0, ()), Outcome.ERROR, 500, **details)
    to.end(to.begin_text("GET", "/", "1.1", "http", "", 0, ()), Outcome.OK, 1 << 70)
    ends = [MINIMAL_END.unpack(payload) for kind, payload in frames(to) if kind == Kind.END_MINIMAL]
    assert [(number, status, outcome) for number, _, status, outcome in ends] == [
        (1, 500, 1),
        (2, 500, 1),
        (3, 0, 0),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        [("HOST", "x" * 65536)],
        [("X-FORWARDED-FOR", "1.2.3.4")] * 10_000,
        [("HOST", "\ud800")],
        [("USER-AGENT", "a\0b\r\nc")],
        [(["unhashable"], "x")],
        [()],
        None,
    ],
    ids=["64 KiB", "10,000 headers", "lone surrogate", "NUL", "unhashable", "no pair", "no list"],
)
def test_headers_of_any_kind_leave_a_readable_begin(headers: Any) -> None:
    """Too large, too many or not encodable: the begin is cut down, never lost."""
    to = recorder()
    slot = to.begin_text("GET", "/", "1.1", "http", "", 0, headers)
    to.end(slot, Outcome.OK, 200)
    kinds = [kind for kind, _ in frames(to)]
    assert kinds == [Kind.BEGIN_TEXT, Kind.END]
    assert decoded(frames(to)[0][1], Begin[str]).number == 1


def test_a_full_ring_costs_records_not_requests() -> None:
    """Without room there is no slot, the request is counted, and its end is a no-op."""
    to = recorder(size=65536)
    slots = [to.begin_text("GET", "/" + "x" * 1000, "1.1", "http", "", 0, ()) for _ in range(100)]
    for slot in slots:
        to.end(slot, Outcome.OK, 200)
    begun = sum(slot is not None for slot in slots)
    assert 0 < begun < 100
    assert to.journal.lost == 100 - begun
    ends = [kind for kind, _ in frames(to) if kind in (Kind.END, Kind.END_MINIMAL)]
    assert len(ends) == begun


def test_a_mark_is_written_whatever_its_text() -> None:
    """What happened to the worker is told even if its message cannot be encoded."""
    to = recorder()
    to.mark("lifespan.startup.failed", "why \ud800", Fault("E", "\ud800"))
    [(kind, mark)] = frames(to)
    assert kind == Kind.MARK
    assert decoded(mark, Mark).detail == "why \\ud800"


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(*[st.one_of(st.text(), st.binary(), st.none(), st.integers(), st.floats())] * 6),
    st.lists(st.tuples(st.one_of(st.just("HOST"), st.text()), st.one_of(st.text(), st.binary(), st.none()))),
)
def test_nothing_a_server_hands_out_can_raise(known: tuple[Any, ...], headers: list[Any]) -> None:
    """Whatever types and texts arrive, the request goes on."""
    to = recorder()
    to.end(to.begin_text(*known, headers), Outcome.OK, 200)
    assert len(frames(to)) == 2
