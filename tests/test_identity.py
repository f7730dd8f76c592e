"""Ids: the same wherever they are derived, different for every request, and valid for X-Ray and W3C."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server_tracing.identity import anchor, child_span_id, derive, hexadecimal
from server_tracing.record import Origin

ORIGIN = Origin(
    id="a",
    seed=b"0123456789abcdef",
    pid=1,
    service="s",
    destinations="d",
    state_dir="/",
    wall=1_700_000_000_500_000_000,
    monotonic=1_000_000_000,
)


def test_the_same_request_has_the_same_ids_everywhere() -> None:
    """They depend on the worker's seed, the number and the start, and on nothing else."""
    assert derive(ORIGIN, 7, 1_000_000_000) == derive(ORIGIN, 7, 1_000_000_000)


def test_a_trace_id_begins_with_the_second_the_request_began() -> None:
    """As X-Ray demands of its trace ids."""
    trace_id, _ = derive(ORIGIN, 7, 2_600_000_000)
    assert trace_id >> 96 == 1_700_000_002


def test_ids_do_not_repeat() -> None:
    """Neither between requests, nor workers, nor spans."""
    other = Origin(id="b", seed=b"fedcba9876543210", pid=2, service="s", destinations="d", state_dir="/")
    pairs = {derive(origin, number, 5) for origin in (ORIGIN, other) for number in range(2000)}
    spans = {span for _, span in pairs} | {child_span_id(ORIGIN, n, i) for n in range(50) for i in range(50)}
    assert len(pairs) == 4000
    assert len(spans) == 4000 + 2500


def test_the_anchor_reads_both_clocks() -> None:
    """Wall and monotonic time of the same moment."""
    wall, monotonic = anchor()
    assert wall > 1_700_000_000_000_000_000
    assert monotonic > 0


@given(st.integers(0, 2**63), st.integers(0, 2**62))
def test_ids_as_text_are_the_same_ids(number: int, start: int) -> None:
    """Whoever writes them and whoever counts with them means the same request."""
    trace_id, span_id = derive(ORIGIN, number, start)
    assert hexadecimal(ORIGIN)(number, start) == (f"{trace_id:032x}", f"{span_id:016x}")
