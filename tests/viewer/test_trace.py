"""One trace, whole."""

from __future__ import annotations

import io
import json

import pytest
from believable import after, failed, killed, request, spans, vitals
from screens import rows, screen, text

from server_tracing.record import FinishedSpan
from server_tracing.viewer.screen import Screen
from server_tracing.viewer.trace import show
from server_tracing.viewer.waterfall import Bar, nested


def shown(told, width=100, as_json=False):
    target = screen(width)
    show(target, told, as_json=as_json, now=after(90))
    return target


def full():
    return failed(
        1,
        spans=spans(after(1)),
        annotations={"cart": 3},
        metadata={"default": {"items": [1, 2]}},
        queue_ms=3.0,
        parent_id="00f067aa0ba902b7",
        kept_because="error",
        sample_rate=0.1,
        stack='  File "/srv/shop/cart.py", line 40, in add',
    )


def test_everything_known_is_told():
    """Identity, times, place, exception with its cause, stack, what the application said."""
    output = text(shown([full()]))
    told = full()
    for expected in (
        f"Trace {told.trace_id}",
        f"X-Ray 1-{told.trace_id[:8]}-{told.trace_id[8:]}",
        "POST /cart  500 error",
        "12.5 ms · first byte after 11.9 ms · waited 3.00 ms before that",
        "pid 4711 · gunicorn 27.0.1 · sync",
        "called by 00f067aa0ba902b7",
        "yes, because of error, stands for 10",
        "  OutOfStock: no teapots left",
        "  caused by",
        "  KeyError: 'teapot'",
        "    shelf.take(item)",
        "Where it was when it had been running for too long",
        "    cart 3",
        "    items [1,2]",
        "1 min ago",
    ):
        assert expected in output


def test_a_waterfall_shows_what_happened_within_what():
    """Bars begin and end where their spans did; what has not ended is open."""
    lines = rows(shown([full()]))
    chart = {line.split("  ━")[0].split("  ╌")[0].strip(): line for line in lines[3:7]}
    assert list(chart) == ["POST /cart", "load cart", "SELECT items", "charge card"]
    whole, load, select, charge = chart.values()
    assert load.startswith("    load cart")
    assert select.startswith("      SELECT items")
    assert whole.index("━") < load.index("━") < select.index("━")
    assert select.rindex("━") < whole.rindex("━")
    assert charge.rstrip().endswith("╌  not ended")
    assert whole.rstrip().endswith("12.5 ms")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_waterfall_fits(width):
    """Deep spans and long names too."""
    deep = [
        FinishedSpan(
            span_id=f"{100 + level:016x}",
            parent_id=f"{99 + level if level else 1:016x}",
            name="a name that is long " * 5,
            kind="internal",
            start=after(1),
            duration_ms=1.0,
        )
        for level in range(30)
    ]
    for line in rows(shown([request(1, spans=deep)], width))[3:33]:
        assert len(line) <= width


def test_where_lines_cannot_be_drawn_plain_characters_do():
    """A terminal without UTF-8."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    show(Screen(out, width=100), [full()], as_json=False, now=after(90))
    output = out.buffer.getvalue()
    assert b"====" in output
    assert b"----  not ended" in output


def test_requests_of_one_trace_stand_in_one_waterfall():
    """A caller and whom it called, the first one first."""
    caller = request(1, duration_ms=100.0)
    called = request(
        2, start=after(1.01), trace_id=caller.trace_id, parent_id=caller.span_id, service="stock"
    )
    lines = rows(shown([called, caller]))
    assert lines[1].endswith(" · 2 requests")
    assert lines[3].startswith("  GET /products/1 ")
    assert lines[4].startswith("    GET /products/2 ")
    assert sum("service   " in line for line in lines) == 2


def test_a_killed_requests_worker_is_described():
    """Why it died, and how it was shortly before."""
    output = text(shown([killed(1, vitals=vitals())]))
    assert "why       timeout" in output
    assert "then      62.0 MiB of memory, 14 % CPU, 1 in flight" in output
    young = text(shown([killed(1, vitals=vitals(cpu_percent=None))]))
    assert "then      62.0 MiB of memory, 1 in flight" in young


def test_a_running_request_has_no_end_yet():
    """Its bar is open."""
    output = text(shown([request(1, outcome="running", status=None)]))
    assert "12.5 ms so far" in output
    assert "not ended" in output


def test_nothing_in_a_trace_acts_on_a_terminal():
    """Names, annotations, stacks, headers, user agents: all of it was somebody's input."""
    evil = "\x1b]0;x\x07\u202e\r"
    told = full()
    told.annotations, told.metadata, told.headers = {evil: evil}, {evil: {evil: [evil]}}, {evil: evil}
    told.user, told.name, told.user_agent, told.stack = evil, evil, evil, evil
    told.exception.stack = told.exception.message = told.exception.type = evil
    told.spans[0].name = evil
    assert all(letter.isprintable() or letter == "\n" for letter in text(shown([told])))


def test_json_is_a_line_per_request():
    """In order."""
    first, second = request(1), request(2, trace_id=request(1).trace_id)
    lines = [json.loads(line) for line in rows(shown([second, first], as_json=True))]
    assert [line["span_id"] for line in lines] == [first.span_id, second.span_id]


def test_spans_that_name_each_other_as_parents_are_shown_once():
    """Ids come from clients and libraries."""
    bars = [
        Bar("a", "b", "one", after(1), 1.0),
        Bar("b", "a", "two", after(2), 1.0),
        Bar("c", "c", "self", after(3), 1.0),
    ]
    assert sorted(bar.name for bar in nested(bars)) == ["one", "self", "two"]


def test_many_spans_are_cut_short():
    """A thousand lines are not a picture."""
    many = [
        FinishedSpan(
            span_id=f"{n + 100:016x}",
            parent_id=f"{1:016x}",
            name=f"query {n}",
            kind="internal",
            start=after(1),
        )
        for n in range(500)
    ]
    output = text(shown([request(1, spans=many)]))
    assert "... and 301 more" in output
