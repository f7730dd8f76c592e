"""One line per request."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime, timedelta

import pytest
from believable import NOON, after, exception, failed, killed, request, requests, spans
from screens import rows, screen, text

from server_tracing.store import Filter, Store, View
from server_tracing.viewer.requests import SHORT_ID, follow, show

ESCAPE = re.compile(r"\x1b\[[\d;]*m")


def shown(told, *, width=None, colour=False, as_json=False):
    target = screen(width, colour)
    show(target, told, as_json=as_json, now=after(60))
    return target


def test_a_pipe_gets_everything_and_no_colour():
    """Whole trace ids, whole paths, dates: lines are for grep."""
    path = "/long" * 60
    header, line = rows(shown([request(1, path=path)]))
    assert header.split() == ["TIME", "RESULT", "TOOK", "TRACE", "SERVICE", "WORKER", "REQUEST"]
    assert request(1).trace_id in line
    assert line.endswith(f"shop       4711  GET {path}")
    assert line.startswith(f"{after(1).astimezone():%Y-%m-%d %H:%M:%S}.000")


@pytest.mark.parametrize("width", [50, 60, 72, 73, 80, 100, 119, 120, 200])
def test_a_terminal_gets_lines_that_fit(width):
    """Whatever is in them, also with colours on."""
    told = [request(1), failed(2), killed(3), request(4, path="/x" * 200), request(5, path="/日本" * 100)]
    for line in rows(shown(told, width=width, colour=True)):
        plain = ESCAPE.sub("", line)
        assert sum(2 if letter in "日本" else 1 for letter in plain) <= width


def test_a_narrow_terminal_leaves_out_service_and_worker():
    """The request itself needs the room."""
    assert "SERVICE" not in rows(shown([request(1)], width=80))[0]
    assert "SERVICE" in rows(shown([request(1)], width=120))[0]


def test_a_terminals_trace_id_is_long_enough_to_ask_for():
    """And short enough for a line."""
    assert f" {request(1).trace_id[:SHORT_ID]} " in rows(shown([request(1)], width=80))[1]


def test_columns_stand_below_each_other():
    """Right where numbers are compared."""
    lines = rows(shown([request(1, duration_ms=5.0), failed(2, duration_ms=61_000.0)], width=100))
    ends = {line.index("  6") for line in lines[1:]}
    assert len(ends) == 1
    assert lines[0].index("REQUEST") == lines[1].index("GET") == lines[2].index("POST")


@pytest.mark.parametrize(
    ("told", "end"),
    [
        (failed(1), "POST /cart  OutOfStock: no teapots left"),
        (killed(1), "GET /report  timeout"),
        (request(1, query="a=1&b=2"), "GET /products/1?a=1&b=2"),
        (request(1, scheme="wss", status=101, path="/live"), "WSS /live"),
        (
            request(1, method=None, path=None, outcome="rejected", reason="bad line"),
            "(not understood)  bad line",
        ),
    ],
)
def test_a_line_ends_with_the_request_and_what_was_wrong_with_it(told, end):
    """Why it is not an ordinary one."""
    assert rows(shown([told]))[1].endswith(f"  {end}")


@pytest.mark.parametrize(
    ("told", "result"),
    [
        (request(1), "200"),
        (failed(1), "500 error"),
        (killed(1), "killed"),
        (killed(1, status=200), "200 killed"),
        (request(1, status=400, outcome="rejected"), "400 rejected"),
        (request(1, status=None, outcome="disconnected"), "disconnected"),
        (request(1, status=None), "-"),
    ],
)
def test_the_result_is_the_status_and_what_became_of_it(told, result):
    """ok goes without saying."""
    assert f"  {result}  " in rows(shown([told]))[1]


def test_what_a_request_carries_cannot_act_on_a_terminal():
    """Neither through the path nor the query, the reason, the exception, the service."""
    evil = "\x1b]0;gotcha\x07\u202e\r\n"
    told = failed(1, path=evil, query=evil, service=evil, reason=evil, method=f"GET{evil}")
    told.exception.message = evil
    output = text(shown([told], width=300))
    assert output.count("\n") == 2
    assert all(letter.isprintable() or letter == "\n" for letter in output)


def test_colours_are_for_what_is_not_ordinary():
    """Calm where all is well."""
    ordinary, bad = rows(shown([request(1), failed(2)], width=100, colour=True))[1:]
    assert "\x1b[31m500 error\x1b[0m" in bad
    assert "\x1b[31m" not in ordinary


def test_json_lines_have_the_fields_that_are_promised():
    """Absent is unknown; times RFC 3339; weights always; no tag."""
    told = failed(
        1, annotations={"cart": 3}, metadata={"default": {"a": [1]}}, spans=spans(after(1)), sampled=False
    )
    line = json.loads(text(shown([told], as_json=True)))
    assert datetime.fromisoformat(line["start"].replace("Z", "+00:00")) == after(1)
    assert line["exception"]["type"] == "OutOfStock"
    assert line["exception"]["cause"]["type"] == "KeyError"
    assert line["spans"][0]["name"] == "load cart"
    assert "duration_ms" not in line["spans"][2]
    assert (line["sampled"], line["sample_rate"]) == (False, 1.0)
    assert {"record", "reason", "close_code", "queue_ms"}.isdisjoint(line)
    promised = (
        "trace_id span_id service method scheme http_version host path route status outcome start duration_ms"
    )
    assert set(promised.split()) <= set(line)


def test_json_lines_are_safe_for_a_terminal_too():
    """And mean the same."""
    path = "/\x1b[2J\x7f\x9b\u202e\u200b日本\u2028\U000e0041\u3164😀"
    output = text(shown([request(1, path=path)], as_json=True))
    assert all(letter.isprintable() for letter in output.removesuffix("\n"))
    assert json.loads(output)["path"] == path


def test_no_request_is_no_header():
    """Nothing is printed for nothing."""
    assert text(shown([])) == ""


class EnoughError(Exception):
    """Ends what would go on for ever."""


def test_following_shows_what_arrives_once_and_in_order(tmp_path):
    """Under one header, filtered as the rest."""
    store = Store(str(tmp_path / "store.sqlite"), clock=NOON.timestamp)
    store.append([request(1)], "journal", 1)
    later = [[request(4), request(3, status=404)], [failed(5)]]

    def sleep(_seconds):
        if not later:
            raise EnoughError
        store.append(later.pop(0), "journal", store.acked("journal") + 1)

    target = screen()
    wanted = Filter(statuses=(range(200, 300), range(500, 600)))
    with pytest.raises(EnoughError):
        follow(
            target,
            store,
            wanted,
            latest=[request(1)],
            mark=store.mark(),
            as_json=False,
            reopen=lambda: store,
            sleep=sleep,
        )
    lines = rows(target)
    assert [line.rpartition("  ")[2] for line in lines[1:3]] == ["GET /products/1", "GET /products/4"]
    assert len(lines) == 4
    store.close()


def test_following_goes_on_in_the_store_that_takes_the_place_of_another(tmp_path):
    """One that was damaged is set aside; until there is a new one, nothing arrives."""
    path = str(tmp_path / "store.sqlite")
    store = Store(path, clock=NOON.timestamp)
    store.append([request(1)], "journal", 1)
    view, target, opened = View.open(path), screen(), []
    steps = [
        lambda: [os.unlink(path + suffix) for suffix in ("", "-wal", "-shm")],
        lambda: store.append([request(2)], "journal", 2),
        lambda: store.append([request(3)], "journal", 3),
    ]

    def sleep(_seconds):
        if not steps:
            raise EnoughError
        steps.pop(0)()

    with pytest.raises(EnoughError):
        follow(
            target,
            view,
            Filter(),
            latest=[request(1)],
            mark=view.mark(),
            as_json=True,
            reopen=lambda: opened.append(View.open(path)) or opened[-1],
            sleep=sleep,
        )
    paths = [json.loads(line)["path"] for line in text(target).splitlines()]
    assert paths == ["/products/1", "/products/2", "/products/3"]
    for one in (*opened, store):
        one.close()


def test_a_column_is_as_wide_as_its_first_rows_need():
    """A long service name pushes nothing out of line."""
    told = [*requests(3), request(4, service="a-rather-long-service")]
    places = {line.index("4711") for line in rows(shown(told))[1:]}
    assert len(places) == 1


def test_yesterdays_requests_say_so():
    """On a terminal, where today's have no date."""
    target = screen(100)
    show(target, [request(1)], as_json=False, now=NOON + timedelta(days=2))
    assert f"{after(1).astimezone():%b %d %H:%M:%S}" in text(target)


def test_an_exception_without_a_message_has_no_colon():
    """`KeyboardInterrupt`, not `KeyboardInterrupt: `."""
    told = failed(1)
    told.exception = exception()
    told.exception.message = ""
    assert rows(shown([told]))[1].endswith("  OutOfStock")
