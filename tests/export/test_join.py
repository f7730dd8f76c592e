"""Joining: frames become requests under their number, whatever order, repetition or damage they come with."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_tracing.export.join import MAX_NOTES, MAX_SAID, MAX_SAID_BY_ALL, MAX_SPANS, Joiner
from server_tracing.export.trail import Loss, Trail
from server_tracing.journal.ring import MINIMAL_END
from server_tracing.record import Kind, Outcome

encode = msgspec.msgpack.encode


def begin(number: int, start: int = 5) -> bytes:
    return encode((number, start, "GET", f"/{number}", "1.1", "http", "192.0.2.1", 1, []))


def end(number: int, stop: int = 9) -> bytes:
    return encode((number, stop, Outcome.OK, 200))


def span(number: int, span_id: int, stop: int = 8) -> bytes:
    return encode((number, span_id, 0, "load", "internal", 6, stop))


def feed(joiner: Joiner, *frames: tuple[int, bytes], start: int = 0) -> list:
    return [joiner.feed(start + 64 * place, kind, payload) for place, (kind, payload) in enumerate(frames)]


def test_a_begin_and_its_end_are_one_request():
    """What began and ended comes out once, with both."""
    joiner = Joiner()
    nothing, trail = feed(joiner, (Kind.BEGIN_TEXT, begin(1)), (Kind.END, end(1)))
    assert nothing is None
    assert (trail.begin.target, trail.end.stop, trail.pin, trail.position) == ("/1", 9, 0, 64)
    assert joiner.in_flight == 0


def test_an_asgi_begin_keeps_its_bytes():
    """Bytes stay bytes until they are shaped."""
    joiner = Joiner()
    payload = encode((1, 5, "GET", b"/\xff", "1.1", "http", "", 0, [(b"host", b"\xfe")]))
    trail = feed(joiner, (Kind.BEGIN_BYTES, payload), (Kind.END, end(1)))[1]
    assert trail.begin.target == b"/\xff"
    assert trail.begin.headers == [(b"host", b"\xfe")]


def test_a_minimal_end_ends_a_request():
    """The end that fits whatever was reserved is as good an end."""
    joiner = Joiner()
    minimal = MINIMAL_END.pack(1, 77, 204, Outcome.OK)
    trail = feed(joiner, (Kind.BEGIN_TEXT, begin(1)), (Kind.END_MINIMAL, minimal))[1]
    assert (trail.end.stop, trail.end.status, trail.end.outcome) == (77, 204, Outcome.OK)


def test_head_stack_notes_and_spans_join_their_request():
    """Everything said between begin and end is there at the end."""
    joiner = Joiner()
    trail = feed(
        joiner,
        (Kind.BEGIN_TEXT, begin(1)),
        (Kind.HEAD, encode((1, 6, 206))),
        (Kind.SPAN, span(1, 7)),
        (Kind.NOTE, encode((1, "user", "", "ada"))),
        (Kind.STACK, encode((1, 8, [("a.py", 1, "f")]))),
        (Kind.END, end(1)),
    )[-1]
    assert (trail.first_byte, trail.status) == (6, 206)
    assert [span.span_id for span in trail.spans.values()] == [7]
    assert [note.value for note in trail.notes.values()] == ["ada"]
    assert trail.stack.stamp == 8


def test_a_span_that_comes_again_replaces_itself():
    """A running span is one span when it ends."""
    joiner = Joiner()
    frames = [
        (Kind.BEGIN_TEXT, begin(1)),
        (Kind.SPAN, span(1, 7, 0)),
        (Kind.SPAN, span(1, 7, 8)),
        (Kind.END, end(1)),
    ]
    trail = feed(joiner, *frames)[-1]
    assert [span.stop for span in trail.spans.values()] == [8]


def test_spans_and_notes_of_one_request_are_bounded():
    """The thousand-and-first span is counted, not kept."""
    joiner = Joiner()
    feed(joiner, (Kind.BEGIN_TEXT, begin(1)))
    for number in range(MAX_SPANS + 5):
        joiner.feed(64, Kind.SPAN, span(1, number))
    for number in range(MAX_NOTES + 5):
        joiner.feed(64, Kind.NOTE, encode((1, "annotation", str(number), 1)))
    trail = joiner.find(1)
    assert (len(trail.spans), trail.spans_dropped, len(trail.notes)) == (MAX_SPANS, 5, MAX_NOTES)


def said(number, key, size=32_000):
    return encode((number, "metadata", key, "x" * size, "default"))


def test_what_one_request_says_is_bounded_in_bytes():
    """What finds no room in memory is counted; a span that is known ends all the same, and what was said
    before may be said once more, as when it is carried."""
    joiner = Joiner()
    feed(joiner, (Kind.BEGIN_TEXT, begin(1)), (Kind.SPAN, span(1, 7, 0)))
    for key in range(100):
        joiner.feed(64, Kind.NOTE, said(1, str(key)))
    trail = joiner.find(1)
    kept = len(trail.notes)
    assert MAX_SAID - 32_100 < trail.said <= MAX_SAID
    assert trail.notes_dropped == 100 - kept
    joiner.feed(64, Kind.NOTE, encode((1, "user", "", "ada")))
    joiner.feed(64, Kind.SPAN, encode((1, 7, 0, "query", "", 5, 9, {"sql": "x" * 60_000})))
    joiner.feed(64, Kind.SPAN, encode((1, 8, 0, "query", "", 5, 9, {"sql": "x" * 60_000})))
    for kind, payload in trail.frames()[1:]:
        joiner.feed(64, kind, payload)
    assert [(one.stop, one.annotations) for one in trail.spans.values()] == [(9, {})]
    assert (len(trail.notes), trail.notes_dropped, trail.spans_dropped) == (kept + 1, 100 - kept, 1)


def test_what_all_requests_say_is_bounded_in_bytes():
    """However many are open; what has ended makes room."""
    joiner = Joiner()
    for number in range(1, 400):
        feed(joiner, (Kind.BEGIN_TEXT, begin(number)), (Kind.NOTE, said(number, "a")))
    assert MAX_SAID_BY_ALL - 32_100 < joiner.said <= MAX_SAID_BY_ALL
    assert joiner.find(399).notes_dropped == 1
    for number in range(1, 399):
        feed(joiner, (Kind.END, end(number)))
    feed(joiner, (Kind.NOTE, said(399, "b")))
    assert joiner.said == joiner.find(399).said > 32_000


def test_frames_of_unknown_requests_are_counted():
    """A late span, or an end whose begin is gone, harms nobody."""
    joiner = Joiner()
    assert (
        feed(joiner, (Kind.END, end(9)), (Kind.SPAN, span(9, 1)), (Kind.HEAD, encode((9, 1, 200))))
        == [None] * 3
    )
    assert (joiner.strangers, joiner.garbled, joiner.in_flight) == (3, 0, 0)


def test_a_garbled_begin_is_a_loss_that_was_begun():
    """What cannot be understood was seen all the same."""
    joiner = Joiner()
    (loss,) = feed(joiner, (Kind.BEGIN_TEXT, b"\xc1"))
    assert loss == Loss("garbled")
    assert (joiner.begun, joiner.garbled) == (1, 1)


def test_a_second_begin_of_a_number_is_garbled():
    """Nobody's end can be given to somebody else."""
    joiner = Joiner()
    assert feed(joiner, (Kind.BEGIN_TEXT, begin(1)), (Kind.BEGIN_TEXT, begin(1)))[1] == Loss("garbled")
    assert joiner.find(1).pin == 0


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
        encode({"a": 1}),
        encode([2**63] * 20),
        encode([-1] * 20),
    ],
)
def test_no_payload_of_any_kind_raises(kind, payload):
    """Every byte is hostile; the worst it does is to be counted."""
    joiner = Joiner()
    joiner.feed(0, Kind.BEGIN_TEXT, begin(1))
    joiner.feed(64, kind, payload)
    assert joiner.in_flight <= 2


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=80)), max_size=30))
def test_arbitrary_frames_never_raise(frames):
    """Frames of any kind with any content."""
    joiner = Joiner(adopted=True)
    for place, (kind, payload) in enumerate(frames):
        joiner.feed(place * 64, kind, payload)
    assert 0 <= joiner.floor(64 * len(frames)) <= 64 * len(frames)


def carry(joiner: Joiner, number: int, position: int) -> None:
    """As the reader does: written by it, then read back."""
    trail = joiner.find(number)
    for offset, (kind, payload) in enumerate(joiner.carry(trail)):
        joiner.feed(position + offset, kind, payload)


def test_a_carried_request_moves_its_pin_and_stays_one():
    """The ring may forget the first copy; the request is told once."""
    joiner = Joiner()
    joiner.feed(0, Kind.BEGIN_TEXT, begin(1))
    joiner.feed(64, Kind.SPAN, span(1, 7))
    carry(joiner, 1, 640)
    assert joiner.floor(1000) == 640
    trail = joiner.feed(2000, Kind.END, end(1))
    assert isinstance(trail, Trail)
    assert (trail.pin, len(trail.spans), joiner.begun) == (640, 1, 1)


def test_what_was_carried_is_whole_for_whoever_adopts_the_journal():
    """Begin, head, notes, spans and stack travel together."""
    joiner, adopter = Joiner(), Joiner(adopted=True, counted_from=9999)
    feed(
        joiner,
        (Kind.BEGIN_TEXT, begin(1)),
        (Kind.HEAD, encode((1, 6, 206))),
        (Kind.SPAN, span(1, 7)),
        (Kind.NOTE, encode((1, "user", "", "ada"))),
        (Kind.STACK, encode((1, 8, []))),
    )
    for position, (kind, payload) in enumerate(joiner.carry(joiner.find(1))):
        adopter.feed(640 + position, kind, payload)
    trail = adopter.find(1)
    assert (trail.begin.target, trail.first_byte, trail.status) == ("/1", 6, 206)
    assert (len(trail.spans), len(trail.notes), trail.stack.stamp) == (1, 1, 8)
    assert adopter.begun == 0


def test_an_end_that_crossed_its_carried_begin_is_not_opened_again():
    """The copy that is read after the end belongs to nobody, here and for an adopter that sees both."""
    joiner, adopter = Joiner(), Joiner(adopted=True)
    joiner.feed(0, Kind.BEGIN_TEXT, begin(1))
    adopter.feed(0, Kind.BEGIN_TEXT, begin(1))
    copies = joiner.carry(joiner.find(1))
    for each in (joiner, adopter):
        assert isinstance(each.feed(64, Kind.END, end(1)), Trail)
        for position, (kind, payload) in enumerate(copies):
            each.feed(128 + position, kind, payload)
        assert each.in_flight == 0


def test_the_tail_never_rests_between_an_end_and_the_copy_it_crossed():
    """An adopter that found the copy alone would call an answered request killed."""
    joiner = Joiner()
    joiner.feed(0, Kind.BEGIN_TEXT, begin(1))
    copies = joiner.carry(joiner.find(1))
    joiner.feed(64, Kind.END, end(1))
    assert joiner.floor(100) == 64  # the copy is on its way
    joiner.feed(128, *copies[0])
    assert joiner.floor(100) == 64
    assert joiner.floor(128) == 64
    assert joiner.floor(129) == 129


def test_an_adopters_tail_does_not_rest_there_either():
    """It may die in its turn, and leave the copy to the next one."""
    joiner, adopter = Joiner(), Joiner(adopted=True)
    for each in (joiner, adopter):
        each.feed(0, Kind.BEGIN_TEXT, begin(1))
    copies = joiner.carry(joiner.find(1))
    adopter.feed(64, Kind.END, end(1))
    adopter.feed(128, *copies[0])
    assert adopter.floor(100) == 64
    assert adopter.floor(129) == 129


def test_a_request_that_floats_pins_nothing():
    """Kept in memory alone, it still ends as any other."""
    joiner = Joiner()
    joiner.feed(0, Kind.BEGIN_TEXT, begin(1))
    joiner.float_off(joiner.find(1))
    assert joiner.floor(500) == 500
    assert joiner.in_flight == 1
    assert isinstance(joiner.feed(64, Kind.END, end(1)), Trail)
    assert joiner.in_flight == 0


def test_begins_counted_before_are_not_counted_again():
    """An adopter counts on from the checkpoint."""
    joiner = Joiner(adopted=True, counted_from=64)
    feed(joiner, (Kind.BEGIN_TEXT, begin(1)), (Kind.BEGIN_TEXT, begin(2)))
    assert (joiner.begun, joiner.in_flight) == (1, 2)


def test_its_repr_says_how_it_is():
    """An operator sees what is open."""
    joiner = Joiner()
    feed(joiner, (Kind.BEGIN_TEXT, begin(1)), (Kind.END, b"\xc1"))
    assert repr(joiner) == "<Joiner 1 in flight · 0 ended · 1 garbled>"
