"""Shaping: what the frames say becomes what people read."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from export_kit import SECOND, WALL, origin, settings

from server_tracing import identity
from server_tracing.config import Capture
from server_tracing.export.shape import Shaper
from server_tracing.export.trail import Trail
from server_tracing.record import Begin, End, Fault, Frame, Kind, Mark, Note, Outcome, Span, Stack, Vitals
from server_tracing.texts import split_target, text

START = 20 * SECOND


def shape(
    headers=(),
    target="/users/1?a=1",
    proxies=(),
    config=None,
    kind=Kind.BEGIN_TEXT,
    client="192.0.2.7",
    **end,
):
    begin = Begin(1, START, "GET", target, "1.1", "http", client, 4711, list(headers))
    trail = Trail(kind, begin, 0)
    notes, spans, stack = end.pop("notes", ()), end.pop("spans", ()), end.pop("stack", None)
    trail.notes = {(note.what, note.namespace, note.key): note for note in notes}
    trail.spans = {span.span_id: span for span in spans}
    trail.stack, trail.notes_dropped = stack, end.pop("notes_dropped", 0)
    trail.end = End(**{"number": 1, "stop": START + 1_500_000, "outcome": Outcome.OK, "status": 200, **end})
    return Shaper(config or settings(), origin(), proxies).request(trail)


def test_times_come_from_the_anchor():
    """One reading of both clocks turns every stamp into a time."""
    request = shape(first_byte=START + 500_000)
    assert request.start == datetime.fromtimestamp((WALL + START) / SECOND, timezone.utc)
    assert (request.duration_ms, request.ttfb_ms) == (1.5, 0.5)


def test_a_clock_that_seems_to_run_backwards_gives_no_negative_duration():
    """Hostile or confused stamps never make a duration negative."""
    request = shape(stop=START - 5, first_byte=START - 9)
    assert (request.duration_ms, request.ttfb_ms) == (0, 0)


def test_ids_are_the_ones_everybody_derives():
    """The reader, the application and an adopter arrive at the same ids."""
    trace_id, span_id = identity.derive(origin(), 1, START)
    request = shape()
    assert (request.trace_id, request.span_id) == (f"{trace_id:032x}", f"{span_id:016x}")
    assert (len(request.trace_id), len(request.span_id), request.parent_id) == (32, 16, None)


TRACEPARENT = ("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


def test_a_callers_trace_is_joined():
    """Its trace id, its span as our parent, its decision; our own span id."""
    request = shape([TRACEPARENT])
    assert request.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (request.parent_id, request.parent_sampled) == ("00f067aa0ba902b7", True)
    assert request.span_id == f"{identity.derive(origin(), 1, START)[1]:016x}"


def test_a_caller_is_not_joined_when_nobody_is_believed():
    """`trust_context = never`: neither ids, nor decisions, nor queue times."""
    request = shape(
        [TRACEPARENT, ("X-REQUEST-START", "t=1799999999.5")], config=settings(trust_context="never")
    )
    assert request.trace_id != "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (request.parent_id, request.parent_sampled, request.queue_ms) == (None, None, None)


@pytest.mark.parametrize(("peer", "joined"), [("10.0.0.1", True), ("192.0.2.7", False)])
def test_with_proxies_trusted_only_their_context_counts(peer, joined):
    """`trust_context = proxies`."""
    request = shape(
        [TRACEPARENT], proxies=["10.0.0.1"], client=peer, config=settings(trust_context="proxies")
    )
    assert (request.parent_id == "00f067aa0ba902b7") is joined


def test_the_client_stands_behind_trusted_proxies():
    """And `forwarded` names the header that said so."""
    request = shape([("X-FORWARDED-FOR", "203.0.113.9")], proxies=["192.0.2.7"])
    assert (request.client_ip, request.forwarded) == ("203.0.113.9", "x-forwarded-for")
    assert shape([("X-FORWARDED-FOR", "203.0.113.9")]).client_ip == "192.0.2.7"


def test_queue_time_is_measured_to_our_start():
    """In milliseconds, from the proxy's stamp."""
    assert shape([("X-REQUEST-START", f"t={(WALL + START) / SECOND - 0.25}")]).queue_ms == pytest.approx(
        250, abs=1
    )


def test_path_and_query_are_taken_apart_and_the_query_redacted():
    """Secrets never leave."""
    request = shape(target="/a/b?page=2&token=hunter2")
    assert request.path == "/a/b"
    assert request.query.startswith("page=2&token=")
    assert "hunter2" not in request.query
    assert shape(target="/a").query is None


def test_headers_on_the_allow_list_are_kept_and_the_user_agent_always():
    """Nothing else is."""
    config = settings(capture=Capture(headers=("x-tenant",)))
    request = shape([("X-TENANT", "blue"), ("USER-AGENT", "curl"), ("X-OTHER", "1")], config=config)
    assert (request.headers, request.user_agent) == ({"x-tenant": "blue"}, "curl")


def test_what_is_excluded_has_no_record():
    """By the settings' `exclude`."""
    assert shape(target="/health", config=settings(exclude=("/health",))) is None


def test_a_route_from_the_end_or_a_note_beats_the_derived_one():
    """A framework's template wins; without one, a low-cardinality name stands in."""
    assert shape(route="/users/<int:id>").route == "/users/<int:id>"
    assert shape(notes=[Note(1, "route", "", "/users/{id}")]).route == "/users/{id}"
    assert shape(target="/users/4711").route != "/users/4711"


def test_a_fault_becomes_an_exception_with_text_and_cause():
    """Type, message, source lines, and what it was raised from."""
    frame = Frame(__file__, 1, "test")
    fault = Fault("app.Broken", "no\x00 luck", [frame], cause=Fault("KeyError", "'x'"), explicit=True)
    exception = shape(outcome=Outcome.ERROR, status=500, fault=fault).exception
    assert (exception.type, exception.cause.type) == ("app.Broken", "KeyError")
    assert f'File "{__file__}", line 1, in test' in exception.stack
    assert '"""Shaping: what the frames say becomes what people read."""' in exception.stack
    assert exception.frames == [frame]


def test_a_source_file_that_is_none_is_not_read(tmp_path):
    """A pipe, a missing file, a line that is not there: no source line, no wait, no error."""
    import os

    pipe = str(tmp_path / "pipe.py")
    os.mkfifo(pipe)
    frames = [
        Frame(pipe, 1, "f"),
        Frame("/nowhere.py", 1, "g"),
        Frame(__file__, 10**9, "h"),
        Frame("\0.py", 1, "i"),
    ]
    stack = shape(outcome=Outcome.ERROR, fault=Fault("E", "m", frames)).exception.stack
    assert [line.split(" in ")[1] for line in stack.splitlines()] == ["f", "g", "h", "i"]


def test_a_stuck_stack_is_text():
    """Where it was."""
    assert (
        shape(stack=Stack(1, START, [Frame("x.txt", 3, "wait")])).stack == '  File "x.txt", line 3, in wait'
    )


def test_addresses_in_headers_and_metadata_are_as_ours():
    """The page before, a robot's user agent, and whatever the application keeps: without secrets."""
    secret, hidden = "https://h/?token=abc&a=1", "https://h/?token=***&a=1"
    headers = [("REFERER", secret), ("USER-AGENT", f"robot (+{secret})"), ("X-NOTE", "a=1?")]
    config = settings(capture=Capture(headers=("referer", "x-note")))
    told = Note(1, "metadata", "calls", {"all": [{"url": secret}, 1, "/?"]}, "shop")
    request = shape(headers, f"/cart;sessionid=abc?next={secret}", config=config, notes=[told])
    assert request.headers == {"referer": hidden, "x-note": "a=1?"}
    assert request.user_agent == f"robot (+{hidden})"
    assert request.metadata == {"shop": {"calls": {"all": [{"url": hidden}, 1, "/?"]}}}
    assert (request.path, request.query) == ("/cart;sessionid=***", "next=***&a=1")


def test_a_record_says_how_much_of_what_was_said_is_missing():
    """Those that the application's side let go, and those that found no room in memory."""
    ours = Note(1, "metadata", "notes_dropped", 2, "server_tracing")
    assert shape(notes=[ours], notes_dropped=3).metadata == {"server_tracing": {"notes_dropped": 5}}
    assert shape(notes=[], notes_dropped=3).metadata == {"server_tracing": {"notes_dropped": 3}}


def test_what_the_application_said_is_in_the_record():
    """Annotations, metadata by namespace, user, name, spans."""
    notes = [
        Note(1, "annotation", "items", 3),
        Note(1, "annotation", "odd", [1]),
        Note(1, "metadata", "cart", {"a": [1]}, "shop"),
        Note(1, "user", "", "ada"),
        Note(1, "name", "", "checkout"),
    ]
    spans = [
        Span(1, 7, 0, "load", "internal", START + 1000, START + 3000),
        Span(1, 8, 7, "sql", "sql", START, 0),
    ]
    request = shape(notes=notes, spans=spans)
    assert (request.annotations, request.metadata) == ({"items": 3}, {"shop": {"cart": {"a": [1]}}})
    assert (request.user, request.name) == ("ada", "checkout")
    load, sql = request.spans
    assert (load.parent_id, load.duration_ms) == (request.span_id, 0.002)
    assert (sql.parent_id, sql.duration_ms) == (f"{7:016x}", None)


def test_absent_means_unknown():
    """Nothing is invented where nothing was said."""
    request = shape(status=0, client="", target="")
    assert [request.status, request.client_ip, request.path, request.route, request.cpu_ms] == [None] * 5
    assert [request.response_bytes, request.close_code, request.messages_in, request.ttfb_ms] == [None] * 4


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("plain", "plain"),
        ("gr\xc3\xbc\xc3\x9fe", "grüße"),  # UTF-8 as latin-1, WSGI's way
        (b"gr\xc3\xbc", "grü"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\xff", "\\xff"),
        ("\ud800", "\\ud800"),
        ("日", "日"),
    ],
)
def test_text_from_the_wire_is_read_as_utf8_and_never_lost(raw, read):
    """What is not UTF-8 stays visible."""
    assert text(raw) == read


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/a?b?c", ("h", "/a", "b?c")),
        ("http://other:80/a?b", ("other:80", "/a", "b")),
        ("http://user@other", ("other", "", "")),
        ("*", ("h", "*", "")),
        ("", ("h", "", "")),
        ("/redirect?to=http://x/y", ("h", "/redirect", "to=http://x/y")),
    ],
)
def test_targets_of_every_form_are_taken_apart(target, parts):
    """Origin, absolute and asterisk form."""
    assert split_target(target, "h") == parts


def test_vitals_and_marks_become_records():
    """With -1 as unknown, which is absent from the record."""
    shaper = Shaper(settings(), origin())
    vitals = shaper.vitals(Vitals(START, 1000, 2.5, 4, 9, 1, 77))
    assert (vitals.rss_bytes, vitals.served, vitals.accept_queue, vitals.machine_cpu_percent) == (
        1000,
        77,
        None,
        None,
    )
    untold = shaper.vitals(Vitals(START, -1, -1.0, -1, -1, 1, 77))
    assert (untold.rss_bytes, untold.cpu_percent, untold.threads, untold.open_files) == (None,) * 4
    event = shaper.event(Mark(START, "boot", "test 1"))
    assert (event.what, event.detail, event.service) == ("boot", "test 1", "shop")


def test_a_killed_request_carries_the_workers_last_vitals():
    """How the worker was shortly before."""
    shaper = Shaper(settings(), origin())
    vitals = shaper.vitals(Vitals(START, 1000, 2.5, 4, 9, 1, 77))
    trail = Trail(Kind.BEGIN_TEXT, Begin(1, START, "GET", "/", "1.1", "http", "", 0, []), 0)
    trail.end = End(1, START + 5, Outcome.KILLED, reason="signal 9")
    request = shaper.request(trail)
    assert (request.vitals, request.outcome, request.reason) == (vitals, "killed", "signal 9")


def test_its_repr_names_the_worker():
    """Whose requests it shapes."""
    assert repr(Shaper(settings(), origin())) == "<Shaper of 0123456789abcdef pid 4711>"


def test_addresses_in_spans_are_redacted_as_ours_are():
    """Of whichever library tells of the call."""
    called, hidden = "http://ann:pw@stock/3?page=2&token=secret", "http://***@stock/3?page=2&token=***"
    said = {"http.url": called, "url.full": called, "of": called}
    blocks = {"http": {"request": {"url": called}}}
    (span,) = shape(spans=[Span(1, 7, 0, "call", "client", START, START + 1, said, blocks)]).spans
    assert span.annotations == {"http.url": hidden, "url.full": hidden, "of": hidden}
    assert span.metadata == {"http": {"request": {"url": hidden}}}


def test_an_exception_the_application_tells_of_counts_where_the_server_saw_none():
    """What it told is a fault like any other."""
    told = Note(1, "exception", "", ["ValueError", "told", [], None, False, 0])
    assert shape(notes=[told]).exception.message == "told"
    assert shape(notes=[told], fault=Fault("KeyError", "seen")).exception.message == "seen"
