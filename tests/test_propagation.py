"""What headers say of a trace: the reference vectors, the W3C rules, round trips, and headers from hell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.propagation import (
    FORMATS,
    NAMES,
    Context,
    believed,
    extract,
    from_xray_root,
    inject,
    response,
    xray_root,
)

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text())
ALL = ("xray", "w3c", "b3", "google")
TRACE = 0x0AF7651916CD43DD8448EB211C80319C
SPAN = 0xB7AD6B7169203331
TRACEPARENT = f"00-{TRACE:032x}-{SPAN:016x}-01"
XRAY = f"Root={xray_root(TRACE)};Parent={SPAN:016x};Sampled=1"
NOTHING = Context()


def number(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


def read(*headers: tuple[str, str], formats: tuple[str, ...] = ALL) -> Context:
    return extract(list(headers), formats)


def traceparent(value: str, *states: str) -> Context:
    return read(("traceparent", value), *(("tracestate", state) for state in states))


# ------------------------------------------------------------------ X-Ray


@pytest.mark.parametrize("case", VECTORS["xray"], ids=lambda case: case["header"])
def test_x_amzn_trace_id_is_read_as_the_sdk_does_or_better(case: dict[str, Any]) -> None:
    """Blanks and semicolons are forgiven, ids are validated, unknown fields are kept."""
    says = case["says"]
    expected = Context(
        trace_id=number(says.get("trace")),
        parent_id=number(says.get("parent")),
        sampled=says.get("sampled"),
        sampled_asked=says.get("asked", False),
        xray_extra=says.get("extra"),
        source="xray" if says else "",
    )
    assert read(("x-amzn-trace-id", case["header"])) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (XRAY + ";", Context(trace_id=TRACE, parent_id=SPAN, sampled=True, source="xray")),
        (XRAY + ";junk;=;", Context(trace_id=TRACE, parent_id=SPAN, sampled=True, source="xray")),
        (f"Root={xray_root(TRACE)};Parent=53995C3F", Context(trace_id=TRACE, source="xray")),
        (f"Root={xray_root(TRACE)};Parent={'0' * 16}", Context(trace_id=TRACE, source="xray")),
        (f"Root={xray_root(0)};Parent={'0' * 16};Sampled=0", Context(sampled=False, source="xray")),
        (f"Root=2{xray_root(TRACE)[1:]}", NOTHING),
        (f"Root={xray_root(TRACE).replace('-', '_')}", NOTHING),
        ("Parent=53995c3f42cd8ad8", NOTHING),
        ("Self=1-67891234-12456789abcdef012345678", NOTHING),
    ],
)
def test_a_bad_part_of_x_amzn_trace_id_spoils_only_itself(header: str, expected: Context) -> None:
    """Also the null ids that the SDK sends of requests it did not sample, which carry a decision."""
    assert read(("x-amzn-trace-id", header)) == expected


def test_lineage_is_handed_on_untouched() -> None:
    """AWS follows requests around loops by it."""
    context = read(("x-amzn-trace-id", f"{XRAY};Lineage=25:3d0aeb7f:12"))
    assert context.xray_extra == "Lineage=25:3d0aeb7f:12"
    assert inject(context, ["xray"]) == [("x-amzn-trace-id", f"{XRAY};Lineage=25:3d0aeb7f:12")]


@pytest.mark.parametrize("field", ["A=\r\nSet-Cookie: x", "A\x00=1", "Ä=1", "A=\ud800", "A=" + "x" * 2000])
def test_foreign_fields_cannot_break_out_of_a_header(field: str) -> None:
    """What is handed on is short and printable."""
    assert read(("x-amzn-trace-id", f"{XRAY};{field}")).xray_extra is None


@given(st.integers(1, 2**128 - 1))
def test_xray_and_w3c_write_the_same_trace_id(trace_id: int) -> None:
    """Conversion loses nothing in either direction."""
    assert from_xray_root(xray_root(trace_id)) == trace_id
    assert xray_root(trace_id).replace("-", "")[1:] == f"{trace_id:032x}"
    context = Context(trace_id=trace_id, parent_id=SPAN, sampled=True)
    as_xray = extract(inject(context, ["xray"]), ALL)
    as_w3c = extract(inject(as_xray, ["w3c"]), ALL)
    assert (as_w3c.trace_id, as_w3c.parent_id, as_w3c.sampled) == (trace_id, SPAN, True)


@pytest.mark.parametrize("case", VECTORS["xray_response"], ids=lambda case: case["header"])
def test_the_answer_names_the_trace_and_the_decision_only_if_asked(case: dict[str, Any]) -> None:
    """The caller's root comes back, whether the request is kept or not; a parent never does."""
    incoming = read(("x-amzn-trace-id", case["header"]))
    ours = Context(
        trace_id=incoming.trace_id or TRACE, sampled=case["sampled"], sampled_asked=incoming.sampled_asked
    )
    expected = case["answer"].replace("NEW", xray_root(TRACE))
    assert response(ours, SPAN)[0] == ("X-Amzn-Trace-Id", expected)


def test_traceresponse_names_the_span_that_served() -> None:
    """W3C Trace Context level 2, section 4."""
    ours = Context(trace_id=TRACE, parent_id=1, sampled=True)
    assert response(ours, SPAN)[1] == ("traceresponse", TRACEPARENT)
    assert response(NOTHING, SPAN) == []


# ------------------------------------------------------------------ W3C


@pytest.mark.parametrize("case", VECTORS["traceparent"], ids=lambda case: case["header"])
def test_traceparent_is_read_as_opencensus_does_or_better(case: dict[str, Any]) -> None:
    """Flags are hex, and only their lowest bit decides."""
    assert traceparent(case["header"]).sampled is case["sampled"]


@pytest.mark.parametrize(
    "value",
    [
        TRACEPARENT + ".",
        TRACEPARENT + "-",
        "cc" + TRACEPARENT[2:] + ".what-the-future-will-be-like",
        "ff" + TRACEPARENT[2:] + "-x",
        "0" + TRACEPARENT,
        TRACEPARENT[1:],
        ".0" + TRACEPARENT[2:],
        "0G" + TRACEPARENT[2:],
        TRACEPARENT.upper(),
        TRACEPARENT.replace("-", "_"),
        TRACEPARENT[:-2] + ".0",
        TRACEPARENT[:-1],
        TRACEPARENT + "1",
        f"00-{TRACE:032x}-{0:016x}-01",
        f"00-{TRACE:033x}-{SPAN:016x}-01",
        f"00-{TRACE:032x}-{SPAN:017x}-01",
        TRACEPARENT + "," + TRACEPARENT,
        TRACEPARENT + "\n",
        TRACEPARENT.translate({ord("1"): "\u0661"}),
        "",
    ],
)
def test_a_wrong_traceparent_is_as_if_absent(value: str) -> None:
    """And so is the tracestate beside it (section 3.3)."""
    assert traceparent(value, "a=1") == NOTHING


@pytest.mark.parametrize("suffix", ["", "-", "-what-the-future-will-be-like", "-\n\ud800"])
def test_a_later_version_is_read_as_far_as_this_one_goes(suffix: str) -> None:
    """Section 3.2.4; and answered in version 00."""
    context = traceparent("cc" + TRACEPARENT[2:] + suffix)
    assert (context.trace_id, context.parent_id, context.sampled) == (TRACE, SPAN, True)
    assert inject(context, ["w3c"]) == [("traceparent", TRACEPARENT)]


def test_blanks_around_traceparent_are_no_part_of_it() -> None:
    """RFC 9110, section 5.5."""
    assert traceparent(f"\t {TRACEPARENT} \t").trace_id == TRACE


def test_two_traceparents_are_none() -> None:
    """Nobody can say which is meant, even if they agree."""
    assert read(("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)) == NOTHING


def test_the_random_flag_stays_with_its_trace() -> None:
    """Level 2, section 3.2.2.5.2: it goes out exactly if it came in; unknown bits do not."""
    for flags, expected in (("02", "02"), ("01", "01"), ("ff", "03")):
        context = traceparent(f"{TRACEPARENT[:-2]}{flags}")
        assert inject(context, ["w3c"]) == [("traceparent", f"{TRACEPARENT[:-2]}{expected}")]


LONG_KEY = "z" * 256
EVERY_VALUE_CHARACTER = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in ",=")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["a=1"], "a=1"),
        (["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
        (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
        (["", "foo=1", " , ,", ",foo2=x"], "foo=1,foo2=x"),
        ([""], None),
        ([], None),
        ([f"{LONG_KEY}=1"], f"{LONG_KEY}=1"),
        (["a=" + "v" * 256], "a=" + "v" * 256),
        (["0a_-*/@@b=1", f"b={EVERY_VALUE_CHARACTER}"], f"0a_-*/@@b=1,b={EVERY_VALUE_CHARACTER}"),
        (["b= 1"], "b= 1"),
        (["foo=1,foo=1"], "foo=1"),
        (["foo=1", "bar=2", "foo=2"], "foo=1,bar=2"),
        ([",".join(f"k{n}={n}" for n in range(32))], ",".join(f"k{n}={n}" for n in range(32))),
    ],
)
def test_tracestate_headers_are_one_list_in_order(states: list[str], expected: str | None) -> None:
    """Blanks around members and empty members are let go, everything else is kept as it is."""
    assert traceparent(TRACEPARENT, *states).tracestate == expected


@pytest.mark.parametrize(
    "states",
    [
        [",".join(f"k{n}={n}" for n in range(32))],
        ["foo =1,bar=2"],
        ["FOO=1"],
        ["foo.bar=1"],
        ["@foo=1,bar=2"],
        ["foo=bar=baz"],
        ["foo=,bar=3"],
        ["foo"],
        ["=1"],
        [f"{LONG_KEY}z=1"],
        ["a=" + "v" * 257],
        ["a=\u00e4"],
        ["a=\x7f"],
        ["a=1\x00"],
        ["a=1\n"],
    ],
)
def test_a_wrong_tracestate_is_dropped_whole_and_the_traceparent_kept(states: list[str]) -> None:
    """Nothing is guessed about which member is good."""
    context = traceparent(TRACEPARENT, "good=1", *states)
    assert context == Context(trace_id=TRACE, parent_id=SPAN, sampled=True, source="w3c")


# ------------------------------------------------------------------ B3 and Google


@pytest.mark.parametrize("case", VECTORS["b3"], ids=lambda case: json.dumps(case["headers"]))
def test_b3_is_read_as_opencensus_does_or_better(case: dict[str, Any]) -> None:
    """Ids come in pairs, 64-bit ones are padded, a decision may come alone."""
    context = extract(case["headers"].items(), ALL)
    assert (context.trace_id, context.parent_id) == (number(case["trace"]), number(case["parent"]))
    assert context.sampled is case["sampled"]


IDS = f"{TRACE:032x}-{SPAN:016x}"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"b3": IDS}, Context(trace_id=TRACE, parent_id=SPAN, source="b3")),
        ({"b3": f"{IDS}-d"}, Context(trace_id=TRACE, parent_id=SPAN, sampled=True, source="b3")),
        ({"b3": f"{IDS}-0"}, Context(trace_id=TRACE, parent_id=SPAN, sampled=False, source="b3")),
        ({"b3": IDS.upper() + "-1"}, Context(trace_id=TRACE, parent_id=SPAN, sampled=True, source="b3")),
        ({"b3": "0"}, Context(sampled=False, source="b3")),
        ({"b3": "d"}, Context(sampled=True, source="b3")),
        ({"b3": "0", "x-b3-sampled": "1"}, Context(sampled=False, source="b3")),
        ({"b3": "nonsense", "x-b3-sampled": "0"}, Context(sampled=False, source="b3")),
        ({"x-b3-flags": "1", "x-b3-sampled": "0"}, Context(sampled=True, source="b3")),
        ({"x-b3-flags": "0"}, NOTHING),
        ({"x-b3-sampled": "True"}, Context(sampled=True, source="b3")),
        ({"b3": f"{IDS}-1-{SPAN:016x}-1"}, NOTHING),
        ({"b3": f"{IDS}-1-short"}, NOTHING),
        ({"b3": f"{IDS}-x"}, NOTHING),
        ({"b3": f"{IDS}-"}, NOTHING),
        ({"b3": f"{0:032x}-{SPAN:016x}-1"}, NOTHING),
        ({"b3": f"{TRACE:032x}-{0:016x}-1"}, NOTHING),
        ({"x-b3-traceid": f"{0:016x}", "x-b3-spanid": f"{SPAN:016x}"}, NOTHING),
    ],
)
def test_b3_in_one_header_or_several(headers: dict[str, str], expected: Context) -> None:
    """The single header wins where it is good; debug is sampled; zero ids are none."""
    assert extract(headers.items(), ALL) == expected


@pytest.mark.parametrize("case", VECTORS["google"], ids=lambda case: case["header"])
def test_x_cloud_trace_context_is_read_as_opencensus_does_or_better(case: dict[str, Any]) -> None:
    """A decimal span, and sampled unless the options say otherwise."""
    context = read(("x-cloud-trace-context", case["header"]))
    assert (context.trace_id, context.parent_id) == (number(case["trace"]), number(case["parent"]))
    assert context.sampled is case["sampled"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"{TRACE:032x}/0;o=0", Context(trace_id=TRACE, sampled=False, source="google")),
        (f"{TRACE:032x};o=3", Context(trace_id=TRACE, sampled=True, source="google")),
        (f"{TRACE:032x}/{2**64}", NOTHING),
        (f"x{TRACE:032x}/1;o=1", NOTHING),
        (f"{TRACE:032x}/1;o=1;", NOTHING),
        (f"{0:032x}/1;o=1", NOTHING),
    ],
)
def test_x_cloud_trace_context_is_all_or_nothing(header: str, expected: Context) -> None:
    """No id is cut out of the middle of something else."""
    assert read(("x-cloud-trace-context", header)) == expected


# ------------------------------------------------------------------ all together

BOTH = [("traceparent", TRACEPARENT[:-2] + "00"), ("x-amzn-trace-id", XRAY)]


def test_the_first_format_that_matches_wins() -> None:
    """The order is the setting's, not the headers'."""
    assert extract(BOTH, ["xray", "w3c"]).source == "xray"
    assert extract(BOTH, ["w3c", "xray"]).source == "w3c"
    assert extract(BOTH, ["b3", "w3c"]).source == "w3c"
    assert extract(BOTH, ["b3"]) == NOTHING
    assert extract(BOTH, []) == NOTHING
    assert extract(BOTH, ["unheard of", "w3c"]).source == "w3c"


def test_a_bad_header_leaves_the_next_format_its_turn() -> None:
    """A wrong header is as if it were absent."""
    headers = [("x-amzn-trace-id", "Root=bad"), ("traceparent", TRACEPARENT)]
    assert extract(headers, ALL).source == "w3c"


def test_an_identity_beats_a_decision_alone() -> None:
    """`X-Amzn-Trace-Id: Sampled=0` must not cost the trace that traceparent names."""
    headers = [("x-amzn-trace-id", "Sampled=0"), ("traceparent", TRACEPARENT), ("b3", "1")]
    assert extract(headers, ALL).trace_id == TRACE
    assert extract([headers[0], headers[2]], ALL) == Context(sampled=False, source="xray")


@pytest.mark.parametrize(
    ("trust", "trusted_peer", "expected"),
    [
        ("always", False, True),
        ("proxies", True, True),
        ("proxies", False, False),
        ("never", True, False),
        ("nonsense", True, False),
    ],
)
def test_whose_context_counts(trust: str, trusted_peer: bool, expected: bool) -> None:
    """always: everybody's; proxies: what a trusted proxy sends; never: nobody's."""
    assert believed(trust, trusted_peer) is expected


contexts = st.builds(
    Context,
    trace_id=st.integers(1, 2**128 - 1),
    parent_id=st.integers(1, 2**64 - 1),
    sampled=st.booleans(),
)


@given(contexts, st.sampled_from(ALL))
def test_what_is_written_is_read_back(context: Context, name: str) -> None:
    """Ids and decision survive the way through the headers of every format."""
    back = extract(inject(context, [name]), [name])
    assert (back.trace_id, back.parent_id, back.sampled, back.source) == (
        context.trace_id,
        context.parent_id,
        context.sampled,
        name,
    )


header_text = st.one_of(
    st.text(),
    st.text("0123456789abcdefABCDEF-=;,?d "),
    st.sampled_from([TRACEPARENT, XRAY, IDS, f"{TRACE:032x}/1;o=1", "a=1,b=2", "0", "1"]),
    st.characters(categories=["Cs", "Cc"]).map(lambda character: character * 70_000),
)
headers = st.lists(st.tuples(st.sampled_from([*sorted(NAMES), "host"]), header_text), max_size=8)


@given(headers, st.lists(st.sampled_from([*ALL, "other"])))
def test_no_header_raises(sent: list[tuple[str, str]], formats: list[str]) -> None:
    """And what is made of it can be written out again, and means the same then."""
    context = extract(sent, formats)
    assert context.parent_id is None or context.trace_id is not None
    if context.source:
        again = extract(inject(context, [context.source]), [context.source])
        assert again == context
    for _, value in [*inject(context, ALL), *response(context, SPAN)]:
        assert value.isascii()
        assert value.isprintable()


def test_ten_thousand_headers_are_only_two_traceparents_too_many() -> None:
    """However many come, the answer is the same as for two."""
    assert extract([("traceparent", TRACEPARENT), ("x", "y")] * 5_000, ALL) == NOTHING


def test_every_format_declares_the_headers_it_reads() -> None:
    """Capture records those, and nothing else could be read later."""
    assert {name for form in FORMATS.values() for name in form.NAMES} == NAMES
    assert all(name == name.lower() for name in NAMES)
