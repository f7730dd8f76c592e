"""The one compliance test over all exporters, ours and users': whatever is plugged in keeps these promises.

A new exporter is one more line in CANDIDATES: how to make it, and how to read back what it delivered.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from azure_kit import config as azure_config
from export_kit import Backend, Worker, assert_balanced, record, settings
from ingestion import Ingestion
from standin_daemon import Daemon

from server_tracing.config import XRay
from server_tracing.export.azure import AzureExporter
from server_tracing.export.console import ConsoleExporter, line, printable
from server_tracing.export.exporter import ExportError, Setup, close_exporter, traits
from server_tracing.export.jsonl import JsonLinesExporter
from server_tracing.export.local import LocalExporter
from server_tracing.export.memory import MemoryExporter
from server_tracing.export.registry import EXPORTERS, Unavailable, create
from server_tracing.export.xray.exporter import XRayExporter
from server_tracing.record import (
    Event,
    ExceptionInfo,
    FinishedSpan,
    Frame,
    Record,
    Request,
    WorkerVitals,
)
from server_tracing.store import Store

NOW = datetime.now(timezone.utc).replace(microsecond=123456)
HOSTILE = "\x00\x1b[31m\r\n\u202e\ud7ff 日本 \x7f" + "é" * 5000


def full() -> Request:
    """A request with every field set."""
    vitals = WorkerVitals(
        time=NOW,
        service="shop",
        worker_pid=1,
        rss_bytes=1,
        cpu_percent=1.5,
        threads=2,
        open_files=3,
        in_flight=4,
        served=5,
    )
    exception = ExceptionInfo("E", "m", "stack", ExceptionInfo("C", "n"), [Frame("a.py", 1, "f")])
    span = FinishedSpan(
        span_id="1" * 16,
        parent_id="2" * 16,
        name="sql",
        kind="sql",
        start=NOW,
        duration_ms=0.5,
        annotations={"rows": 3},
        metadata={"q": [1]},
        exception=exception,
    )
    return Request(
        trace_id="a" * 32, span_id="b" * 16, parent_id="c" * 16, service="shop", method="GET",
        scheme="https", http_version="1.1", host="shop.example", path="/users/1", query="a=1",
        route="/users/{id}", status=500, outcome="error", reason="why", start=NOW, duration_ms=1.25,
        ttfb_ms=0.5, queue_ms=0.25, cpu_ms=0.125, request_bytes=1, response_bytes=2,
        client_ip="192.0.2.1", forwarded="forwarded", user_agent="curl", server="gunicorn",
        worker_pid=4711, worker_class="sync", sampled=False, kept_because="rate", sample_rate=0.5,
        exception=exception, stack="stuck", close_code=1000, messages_in=1, messages_out=2,
        event_stream=True, annotations={"a": 1}, metadata={"default": {"k": "v"}}, user="ada",
        name="checkout", headers={"x": "y"}, spans=[span], spans_dropped=1, vitals=vitals,
        parent_sampled=True, tracestate="a=b", xray_extra="Lineage=1", rule="default",
        unsent=[0], central=True,
    )  # fmt: skip


class Made(NamedTuple):
    """An exporter and the way to read back what it delivered, in order; `shows` says what of a request its
    backend has a place for."""

    exporter: Any
    delivered: Callable[[], list[Request]]
    shows: Callable[[Request], Request] = lambda request: request


def local(folder: Path) -> Made:
    exporter = LocalExporter(Setup(settings(state_dir=str(folder)), {}, "shop", str(folder)))

    def delivered() -> list[Request]:
        with contextlib.closing(Store(os.path.join(folder, "store.sqlite"))) as store:
            found = list(store.query())
        return sorted(found, key=lambda request: (request.start, int(request.trace_id, 16)))

    return Made(exporter, delivered)


def jsonl(folder: Path) -> Made:
    exporter = JsonLinesExporter(Setup(settings(state_dir=str(folder)), {}, "shop", str(folder)))
    decode = msgspec.json.Decoder(Request | WorkerVitals | Event).decode

    def delivered() -> list[Request]:
        path = folder / "requests.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [found for text in lines if isinstance(found := decode(text), Request)]

    return Made(exporter, delivered)


def console(folder: Path) -> Made:
    stream = io.StringIO()
    known: list[Request] = []

    class Remembering(ConsoleExporter):
        def export(self, records: Sequence[Record]) -> None:
            super().export(records)
            known.extend(record for record in records if isinstance(record, Request))

    def delivered() -> list[Request]:
        lines = stream.getvalue().splitlines()
        return [request for request in known if any(request.trace_id in text for text in lines)]

    return Made(Remembering(stream=stream), delivered)


def memory(folder: Path) -> Made:
    exporter = MemoryExporter()
    return Made(exporter, lambda: exporter.requests)


def azure(folder: Path) -> Made:
    """What a service has taken is told by its request items: the records are remembered by their ids."""
    service = Ingestion()
    service.any_time = True  # the test's clock is its own
    service.__enter__()
    known: dict[str, Request] = {}

    class Remembering(AzureExporter):
        def export(self, records: Sequence[Record]) -> None:
            known.update({record.span_id: record for record in records if isinstance(record, Request)})
            super().export(records)

        def close(self) -> None:
            super().close()
            service.close()

    def delivered() -> list[Request]:
        assert service.rejected == []
        return [known[data["id"]] for data in service.requests()]

    setup = Setup(azure_config(service), {}, "shop", str(folder))
    return Made(Remembering(setup), delivered)


def xray(folder: Path) -> Made:
    daemon = Daemon()

    class WithItsDaemon(XRayExporter):
        def close(self) -> None:
            super().close()
            daemon.close()

    config = settings(xray=XRay(daemon_address=daemon.address))
    exporter = WithItsDaemon(Setup(config, {}, "shop", str(folder)))
    return Made(exporter, lambda: [shown_by_xray(one) for one in daemon.settled()], what_xray_shows)


def shown_by_xray(segment: dict[str, Any]) -> Request:
    """What a segment tells of its request."""
    http, ours = segment["http"], segment["metadata"].pop("server_tracing", {})
    start, end = segment["start_time"], segment["end_time"]
    scheme, host, path, query = parts_of(http["request"]["url"])
    same = {name: ours[name] for name in IN_ITS_METADATA if name in ours}
    return Request(
        trace_id=segment["trace_id"][2:].replace("-", ""),
        span_id=segment["id"],
        parent_id=segment.get("parent_id"),
        service=segment["name"],
        method=http["request"].get("method"),
        scheme=scheme,
        host=host,
        path=path,
        query=query,
        status=http.get("response", {}).get("status"),
        start=datetime.fromtimestamp(start, timezone.utc),
        duration_ms=round((end - start) * 1000, 2),
        response_bytes=http.get("response", {}).get("content_length"),
        client_ip=http["request"].get("client_ip"),
        user_agent=http["request"].get("user_agent"),
        annotations=segment.get("annotations", {}),
        metadata=segment["metadata"],
        user=segment.get("user"),
        rule=segment["aws"]["xray"].get("sampling_rule_name"),
        central="sampling_rule_name" in segment["aws"]["xray"],
        **{"outcome": "ok", **same},
    )


IN_ITS_METADATA = (
    "http_version", "route", "name", "outcome", "reason", "ttfb_ms", "queue_ms", "cpu_ms", "request_bytes",
    "forwarded", "server", "worker_pid", "worker_class", "kept_because", "sample_rate", "stack", "close_code",
    "messages_in", "messages_out", "event_stream", "headers", "spans_dropped",
)  # fmt: skip


def parts_of(url: str) -> tuple[str, str | None, str, str | None]:
    """Scheme, host, path and query of a text that may hold anything."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    path, _, query = path.partition("?")
    return scheme, host or None, slash + path, query or None


def what_xray_shows(request: Request) -> Request:
    """A request but for what has no field or is too long there; spans have tests of their own."""
    url = f"{request.scheme or 'http'}://{request.host or ''}{request.path}"
    url = f"{url}?{request.query}" if request.query else url
    scheme, host, path, query = parts_of(url[:250])
    return msgspec.structs.replace(
        request,
        scheme=scheme,
        host=host,
        path=path,
        query=query,
        user_agent=request.user_agent[:250] if request.user_agent else None,
        sampled=True,
        exception=None,
        spans=[],
        vitals=None,
        parent_sampled=None,
        tracestate=None,
        xray_extra=None,
        unsent=[],
    )


CANDIDATES = {
    "local": local,
    "jsonl": jsonl,
    "console": console,
    "memory": memory,
    "xray": xray,
    "azure": azure,
}


@pytest.fixture(params=CANDIDATES)
def made(request, tmp_path) -> Iterator[Made]:
    made = CANDIDATES[request.param](tmp_path)
    yield made
    close_exporter(made.exporter)


def fail(made: Made, *errors: Exception) -> None:
    """Let the exporter's next calls end in these errors before it gets to see the records."""
    script = list(errors)
    name = "export_up_to" if hasattr(made.exporter, "export_up_to") else "export"
    real = getattr(made.exporter, name)

    def export(*arguments: Any) -> None:
        if script:
            raise script.pop(0)
        real(*arguments)

    setattr(made.exporter, name, export)


def test_every_exporter_of_the_registry_is_a_candidate():
    """Nobody gets in without passing."""
    assert set(EXPORTERS) == set(CANDIDATES)


def test_records_arrive_in_order_and_once(made, tmp_path):
    """Through the whole pipeline."""
    worker = Worker(made.exporter, folder=tmp_path)
    for number in range(30):
        worker.serve(f"/{number}")
        if number % 7 == 0:
            worker.wake(1.0)
    worker.wake()
    assert [request.path for request in made.delivered()] == [f"/{number}" for number in range(30)]
    assert worker.journal.used == 0
    assert_balanced(worker.checkpoint)


def test_every_field_survives(made):
    """What goes in comes out, field by field, as far as the backend has fields for it."""
    made.exporter.export([full()])
    assert made.delivered() == [made.shows(full())]


def test_vitals_events_and_nothing_at_all_are_taken(made):
    """A batch may hold no request, or no record."""
    made.exporter.export([])
    made.exporter.export([full().vitals, Event(time=NOW, service="shop", worker_pid=1, what="boot")])
    assert made.delivered() == []


def test_hostile_text_is_data(made):
    """Whatever stands in a request stays in its record."""
    hostile = record(7, path="/" + HOSTILE, user_agent=HOSTILE, query=HOSTILE, start=NOW, reason=HOSTILE)
    made.exporter.export([record(1, start=NOW), hostile, record(9, start=NOW)])
    delivered = {request.trace_id: request for request in made.delivered()}
    assert len(delivered) == 3
    assert delivered[hostile.trace_id].path == made.shows(hostile).path


def test_a_failure_is_tried_again_and_loses_nothing(made, tmp_path):
    """A transient error delays."""
    fail(made, ExportError("later"), ExportError("later still", retry_after=0.1))
    worker = Worker(made.exporter, folder=tmp_path)
    worker.serve("/a")
    for _ in range(10):
        worker.wake(0.4, steps=1)
    assert [request.path for request in made.delivered()] == ["/a"]
    assert_balanced(worker.checkpoint)


def test_a_refusal_is_counted_by_its_reason(made, tmp_path):
    """A permanent error drops the batch, and only that."""
    fail(made, ExportError("no", permanent=True, reason="bad_request"))
    worker = Worker(made.exporter, folder=tmp_path)
    worker.serve("/refused")
    worker.wake()
    worker.serve("/fine")
    worker.wake()
    assert [request.path for request in made.delivered()] == ["/fine"]
    assert worker.checkpoint.exporters[made.exporter.name].dropped == {"bad_request": 1}
    assert_balanced(worker.checkpoint)


def test_a_bug_costs_the_batch_and_nothing_else(made, tmp_path):
    """An exception nobody expected, three times."""
    fail(made, *[ZeroDivisionError("a bug")] * 3)
    worker = Worker(made.exporter, folder=tmp_path)
    worker.serve("/poison")
    for _ in range(14):
        worker.wake(0.3, steps=1)
    worker.serve("/fine")
    worker.wake(30)
    assert [request.path for request in made.delivered()] == ["/fine"]
    assert worker.checkpoint.exporters[made.exporter.name].dropped == {"failed": 1}
    assert_balanced(worker.checkpoint)


def test_one_that_is_down_delays_no_other(made, tmp_path):
    """Not by a second, not by a record."""
    down = Backend(*[ExportError("down", retry_after=60)] * 100, name="down")
    worker = Worker(down, made.exporter, folder=tmp_path)
    for number in range(10):
        worker.serve(f"/{number}")
        worker.wake(1.0)
    assert [request.path for request in made.delivered()] == [f"/{number}" for number in range(10)]
    assert_balanced(worker.checkpoint)


def test_what_it_holds_while_it_is_down_is_bounded(made, tmp_path):
    """Memory does not grow with the outage, and what is let go is counted."""
    fail(made, *[ExportError("down")] * 100_000)
    worker = Worker(made.exporter, folder=tmp_path, size=256 << 10)
    for number in range(6000):
        worker.serve(f"/{number}")
        if number % 200 == 0:
            worker.wake(0.5, steps=1)
    (sink,) = worker.sinks
    batches = getattr(sink, "_queue", None) or getattr(sink, "_waiting", ())
    assert sum(len(batch.records) for batch in batches) <= 2000
    assert worker.journal.lost == 0
    assert_balanced(worker.checkpoint)


def test_its_repr_names_it(made):
    """An operator sees what it is."""
    kinds = [kind.__name__ for kind in type(made.exporter).__mro__]
    assert repr(made.exporter).split()[0].strip("<>") in kinds


# ---------------------------------------------------------------- what is particular


def test_the_console_shows_one_line_per_request_whatever_it_holds():
    """No control character reaches a terminal."""
    shown = line(record(1, path="/" + HOSTILE, outcome="killed", reason="signal 9\n\x1b]0;x\x07"))
    assert len(shown.splitlines()) == 1
    assert shown.isprintable()
    assert "\\x1b[31m" in shown


def test_the_console_line_reads_well():
    """Time, status, duration, request, what went wrong, where it belongs."""
    at = datetime(2026, 1, 2, 3, 4, 5, 678000, timezone.utc)
    fine = record(1, start=at, method="GET", query="a=1", status=200)
    assert line(fine) == f"03:04:05.678 200      1.5 ms GET /1?a=1 [shop 4711 {1:032x}]"
    broken = record(1, start=at, outcome="error", status=500, exception=ExceptionInfo("KeyError", "'x'"))
    assert "500      1.5 ms - /1 error KeyError: 'x' [shop" in line(broken)
    assert line(Event(time=at, service="shop", worker_pid=7, what="boot", detail="x")) == (
        "03:04:05.678 --- boot: x [shop 7]"
    )


def test_printable_leaves_text_people_can_read_alone():
    """Only what is invisible or acts is escaped."""
    assert printable("grüße 日本") == "grüße 日本"
    assert printable("a\u202eb\x85") == "a\\u202eb\\x85"


def test_a_closed_console_is_no_reason_to_try_again():
    """What nobody reads is dropped and counted."""
    stream = io.StringIO()
    stream.close()
    with pytest.raises(ExportError) as caught:
        ConsoleExporter(stream=stream).export([record()])
    assert (caught.value.permanent, caught.value.reason) == (True, "closed")


def test_json_lines_rotate_by_size_and_lose_nothing(tmp_path):
    """The full file becomes .1, and every line is whole."""
    setup = Setup(settings(), {"path": str(tmp_path / "r.jsonl"), "max_size": 1000}, "shop", str(tmp_path))
    exporter = JsonLinesExporter(setup)
    size = len(msgspec.json.encode(record(1))) + 1
    for number in range(1000 // size + 1):
        exporter.export([record(number)])
    old, new = (tmp_path / "r.jsonl.1").read_bytes(), (tmp_path / "r.jsonl").read_bytes()
    assert len(old) <= 1000
    assert [msgspec.json.decode(text)["path"] for text in (old + new).splitlines()] == [
        f"/{number}" for number in range(1000 // size + 1)
    ]


def test_json_lines_go_to_standard_output(capfd, tmp_path):
    """For whoever collects it there."""
    JsonLinesExporter(Setup(settings(), {"path": "-"}, "shop", str(tmp_path))).export([record()])
    assert msgspec.json.decode(capfd.readouterr().out, type=Request) == record()


def test_json_lines_that_cannot_be_written_are_an_export_error(tmp_path):
    """A folder that is not there, said with its path."""
    exporter = JsonLinesExporter(
        Setup(settings(), {"path": str(tmp_path / "no" / "r")}, "shop", str(tmp_path))
    )
    with pytest.raises(ExportError, match="no/r"):
        exporter.export([record()])


def test_a_store_that_cannot_be_had_is_an_export_error_with_its_reason(tmp_path):
    """The counter says why."""
    (tmp_path / "state").write_text("a file")
    state_dir = str(tmp_path / "state")
    exporter = LocalExporter(Setup(settings(state_dir=state_dir), {}, "shop", state_dir))
    with pytest.raises(ExportError) as caught:
        exporter.export([record()])
    assert caught.value.reason == "unreachable"


def test_users_exporters_come_in_by_the_same_door(tmp_path, monkeypatch):
    """`module:Class`, made with a Setup."""
    (tmp_path / "theirs.py").write_text(
        "class Theirs:\n    name = 'theirs'\n    def __init__(self, setup): self.setup = setup\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    made = create("theirs:Theirs", Setup(settings(), {"a": 1}, "shop", ""))
    assert made.setup.options == {"a": 1}
    assert traits(made).blocking


@pytest.mark.parametrize(
    "name", ["nosuch", "no.such.module:Class", "os:nothing", "server_tracing.export.local:"]
)
def test_an_exporter_that_is_not_there_counts_what_it_would_have_got(name, tmp_path):
    """The worker starts, the others work, and the accounts say what is missing."""
    exporter = create(name, Setup(settings(), {}, "shop", ""))
    assert isinstance(exporter, Unavailable)
    memory = MemoryExporter()
    worker = Worker(exporter, memory, folder=tmp_path)
    worker.serve("/a")
    worker.wake()
    assert len(memory.requests) == 1
    assert worker.checkpoint.exporters[name].dropped == {"unavailable": 1}


def test_nothing_is_imported_before_it_is_asked_for():
    """The registry is a table of names."""
    code = (
        "import sys, server_tracing.export.registry;"
        "print([name for name in sys.modules if name.endswith(('.jsonl', '.console', '.memory'))])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
