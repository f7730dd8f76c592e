"""What goes out to a called service: the W3C's cases, level 2, strictly, and what the other formats want.

A request comes in with these headers and `headers()` is asked, as a service that forwards would.
"""

from __future__ import annotations

import re

import pytest
from inside_kit import Lab

import server_tracing
from server_tracing import span
from server_tracing.config import Config

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"
TRACEPARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")
ROOT = f"Root=1-{TRACE[:8]}-{TRACE[8:]}"


def forwarded(*incoming, calls=1, propagation=("w3c",)):
    """What each of so many calls is given, and the record of the request."""
    lab = Lab(Config(propagation=propagation))
    with lab.request(*incoming):
        given = [server_tracing.headers() for _ in range(calls)]
    return given, lab.record


def sent_on(traceparent, *tracestate):
    """The traceparent in parts and the tracestate that go out when these come in."""
    incoming = [("TRACEPARENT", traceparent)] if traceparent is not None else []
    (given,), _ = forwarded(*incoming, *(("TRACESTATE", value) for value in tracestate))
    assert TRACEPARENT.fullmatch(given["traceparent"])
    return given["traceparent"].split("-"), given.get("tracestate")


CONTINUED = {
    "sampled": (GOOD, "01"),
    "not sampled": (f"00-{TRACE}-{PARENT}-00", "00"),
    "sampled and random": (f"00-{TRACE}-{PARENT}-03", "03"),
    "random and not sampled": (f"00-{TRACE}-{PARENT}-02", "02"),
    "flags nobody knows are not handed on": (f"00-{TRACE}-{PARENT}-ff", "03"),
    "blanks around it": (f" \t{GOOD}\t ", "01"),
    "a later version": (f"cc-{TRACE}-{PARENT}-01", "01"),
    "a later version with more behind it": (f"cc-{TRACE}-{PARENT}-01-what-comes", "01"),
    "a later version with a dash behind it": (f"cc-{TRACE}-{PARENT}-01-", "01"),
}
RESTARTED = {
    "none": None,
    "empty": "",
    "version ff": f"ff-{TRACE}-{PARENT}-01",
    "version of one digit": f"0-{TRACE}-{PARENT}-01",
    "version of three digits": f"000-{TRACE}-{PARENT}-01",
    "version that is no hex": f".0-{TRACE}-{PARENT}-01",
    "version in capitals": f"CC-{TRACE}-{PARENT}-01",
    "version 00 with more behind it": f"{GOOD}-more",
    "version 00 with a dash behind it": f"{GOOD}-",
    "later version with something glued on": f"cc-{TRACE}-{PARENT}-01.more",
    "trace id of zeros": f"00-{'0' * 32}-{PARENT}-01",
    "trace id in capitals": f"00-{TRACE.upper()}-{PARENT}-01",
    "trace id that is no hex": f"00-.{TRACE[1:]}-{PARENT}-01",
    "trace id too long": f"00-{TRACE}0-{PARENT}-01",
    "trace id too short": f"00-{TRACE[1:]}-{PARENT}-01",
    "parent id of zeros": f"00-{TRACE}-{'0' * 16}-01",
    "parent id in capitals": f"00-{TRACE}-{PARENT.upper()}-01",
    "parent id too long": f"00-{TRACE}-{PARENT}0-01",
    "parent id too short": f"00-{TRACE}-{PARENT[1:]}-01",
    "flags that are no hex": f"00-{TRACE}-{PARENT}-.0",
    "flags of one digit": f"00-{TRACE}-{PARENT}-1",
    "flags of three digits": f"00-{TRACE}-{PARENT}-001",
}


@pytest.mark.parametrize(("incoming", "flags"), CONTINUED.values(), ids=CONTINUED)
def test_a_good_traceparent_is_continued(incoming, flags):
    """The same trace, a parent of our own, the flags we know as they came."""
    (_, trace, parent, sent), _ = sent_on(incoming)
    assert (trace, sent) == (TRACE, flags)
    assert parent != PARENT


@pytest.mark.parametrize("incoming", RESTARTED.values(), ids=RESTARTED)
def test_a_bad_traceparent_begins_a_new_trace(incoming):
    """And its tracestate is not handed on; our own trace ids are random, and say so."""
    (_, trace, _, flags), tracestate = sent_on(incoming, "a=1")
    assert trace != TRACE
    assert flags == "03"
    assert tracestate is None


def test_a_traceparent_sent_twice_begins_a_new_trace():
    """Nobody can say which one is meant."""
    other = f"00-{TRACE[::-1]}-{PARENT}-01"
    (given,), _ = forwarded(("TRACEPARENT", GOOD), ("TRACEPARENT", other))
    assert TRACE not in given["traceparent"]
    assert TRACE[::-1] not in given["traceparent"]


KEY = "z" * 256
HANDED_ON = {
    "one": (["a=1"], "a=1"),
    "two headers": (["a=1", "b=2"], "a=1,b=2"),
    "blanks around members": ([" a=1 \t,\t b=2 "], "a=1,b=2"),
    "empty members": (["a=1,,b=2", "", ","], "a=1,b=2"),
    "32 members": ([",".join(f"k{n}=1" for n in range(32))], ",".join(f"k{n}=1" for n in range(32))),
    "the longest key": ([f"{KEY}=1"], f"{KEY}=1"),
    "the longest value": (["a=" + "v" * 256], "a=" + "v" * 256),
    "a key of a tenant": (["0fw@vendor=1"], "0fw@vendor=1"),
    "all a key may hold": (["a0_-*/@z=1"], "a0_-*/@z=1"),
    "blanks in a value": (["a= 1 2"], "a= 1 2"),
}
DROPPED = {
    "no value": ["a"],
    "an empty value": ["a="],
    "a key in capitals": ["A=1"],
    "a key too long": [f"{KEY}z=1"],
    "a value too long": ["a=" + "v" * 257],
    "a key that begins with a sign": ["@a=1"],
    "a blank before the equals sign": ["a =1"],
    "an equals sign in a value": ["a=1=2"],
    "something that is not ASCII": ["a=é"],
    "33 members": [",".join(f"k{n}=1" for n in range(33))],
    "one bad among good ones": ["a=1,B=2"],
}


@pytest.mark.parametrize(("incoming", "outgoing"), HANDED_ON.values(), ids=HANDED_ON)
def test_a_good_tracestate_is_handed_on(incoming, outgoing):
    """All of it, in its order, as one header."""
    assert sent_on(GOOD, *incoming)[1] == outgoing


@pytest.mark.parametrize("incoming", DROPPED.values(), ids=DROPPED)
def test_a_bad_tracestate_is_dropped_whole(incoming):
    """The traceparent beside it counts all the same."""
    (_, trace, _, _), tracestate = sent_on(GOOD, *incoming)
    assert (trace, tracestate) == (TRACE, None)


def test_a_key_sent_twice_is_handed_on_once():
    """Either one would do; the first is kept."""
    assert sent_on(GOOD, "a=1,b=2,a=3")[1] == "a=1,b=2"


class TestCalls:
    """Who the other service is told is its caller."""

    def test_every_call_has_a_span_of_its_own(self):
        """Of one trace; each stands in the record, so that the other service's record has a parent."""
        given, record = forwarded(("TRACEPARENT", GOOD), calls=3)
        parents = [each["traceparent"].split("-")[2] for each in given]
        assert len(set(parents)) == 3
        assert parents == [each.span_id for each in record.spans]
        assert [(each.name, each.kind, each.duration_ms) for each in record.spans] == [
            ("call", "client", 0.0)
        ] * 3
        assert {each.parent_id for each in record.spans} == {record.span_id}

    def test_a_client_span_is_the_caller_once(self):
        """A second call in it is a moment within it."""
        lab = Lab(Config(propagation=("b3",)))
        with lab.request(), span("GET /stock", "client"):
            callers = [server_tracing.headers()["b3"].split("-")[1] for _ in range(2)]
        client, moment = lab.record.spans
        assert callers == [client.span_id, moment.span_id]
        assert moment.parent_id == client.span_id

    def test_any_other_span_is_not_the_call_itself(self):
        """The moment is within it."""
        lab = Lab(Config(propagation=("b3",)))
        with lab.request(), span("load"):
            server_tracing.headers()
        load, moment = lab.record.spans
        assert moment.parent_id == load.span_id


class TestFormats:
    """As `propagation` has them."""

    def test_all_of_them_at_once(self):
        """The same trace, parent and decision in each."""
        (given,), record = forwarded(
            ("X-AMZN-TRACE-ID", f"{ROOT};Parent={PARENT};Sampled=1;Lineage=a:1"),
            propagation=("xray", "w3c", "b3", "google"),
        )
        parent = record.spans[0].span_id
        assert given == {
            "x-amzn-trace-id": f"{ROOT};Parent={parent};Sampled=1;Lineage=a:1",
            "traceparent": f"00-{TRACE}-{parent}-01",
            "b3": f"{TRACE}-{parent}-1",
            "x-cloud-trace-context": f"{TRACE}/{int(parent, 16)};o=1",
        }

    def test_a_question_is_answered(self):
        """`Sampled=?` gets what was decided."""
        (given,), _ = forwarded(("X-AMZN-TRACE-ID", f"{ROOT};Sampled=?"), propagation=("xray",))
        assert given["x-amzn-trace-id"].endswith(";Sampled=1")

    def test_tracestate_belongs_to_its_traceparent(self):
        """Where another header's trace is continued, it is not."""
        (given,), _ = forwarded(
            ("X-AMZN-TRACE-ID", ROOT),
            ("TRACEPARENT", f"00-{TRACE[::-1]}-{PARENT}-01"),
            ("TRACESTATE", "a=1"),
            propagation=("xray", "w3c"),
        )
        assert TRACE in given["traceparent"]
        assert "tracestate" not in given


def test_outside_of_a_request_there_is_nothing_to_add():
    """An empty dict, to be merged as ever."""
    assert server_tracing.headers() == {}
