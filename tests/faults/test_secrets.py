"""Secrets of requests, wherever they stand, are in no record, no line of a log and no message: by default."""

from __future__ import annotations

import logging
import random
import threading
from pathlib import Path

import msgspec
import pytest
from export_kit import HEADERS, Clock, Worker, settings
from report import size

from server_tracing.capture.faults import fault_from
from server_tracing.export.console import line
from server_tracing.export.exporter import ExportError
from server_tracing.export.memory import MemoryExporter
from server_tracing.export.sending.spool_file import pack
from server_tracing.record import Kind, Outcome

SECRET = "hunter2pa55w0rd"
QUERIES = [
    f"/a?token={SECRET}",
    f"/a?q=1&X-Amz-Signature={SECRET}&b=2",
    f"/a?user%5Bpassword%5D={SECRET}",
    f"/a?next=/b%3Faccess_token%3D{SECRET}",
    f"/a?session_id={SECRET};code={SECRET}",
    f"http://root:{SECRET}@shop.example/a?api_key={SECRET}",
    f"/a?Pass%77ord={SECRET}",
]
HIDDEN_HEADERS = [
    ("AUTHORIZATION", f"Bearer {SECRET}"),
    ("COOKIE", f"session={SECRET}"),
    ("SET-COOKIE", f"session={SECRET}"),
    ("PROXY-AUTHORIZATION", f"Basic {SECRET}"),
    ("X-API-KEY", SECRET),
    ("REFERER", f"https://shop/?token={SECRET}"),
]
MESSAGES = [
    f"https://root:{SECRET}@db:5432/shop?password={SECRET}",
    f"GET https://api.example/v1?access_token={SECRET} failed",
    f"Authorization: Bearer {SECRET}",
    f"AccountKey={SECRET};EndpointSuffix=core",
]


def everything_said(worker: Worker) -> None:
    """One request for each way in which a secret can come along."""
    encode, number = msgspec.msgpack.encode, 0
    for target in QUERIES:
        slot = worker.begin(target, [*HEADERS, *HIDDEN_HEADERS])
        worker.recorder.end(slot, Outcome.OK, 200)
    for message in MESSAGES:
        slot = worker.begin("/a", HEADERS)
        number = slot.number
        fault = fault_from(ValueError(message))
        url = f"https://root:{SECRET}@api.example/v1?page=2&access_token={SECRET}"  # as libraries note it
        tuples = [
            (Kind.NOTE, (number, "annotation", "url", url)),
            (Kind.NOTE, (number, "metadata", "url", url, "http")),
            (Kind.NOTE, (number, "name", "", url)),
            (Kind.SPAN, (number, 7, 0, url, "client", 1, 2, {"http.url": url}, {"url.full": url}, fault)),
            (Kind.MARK, (1, "boot", message, fault)),
        ]
        for kind, frame in tuples:
            assert worker.journal.append(kind, encode(frame))
        worker.recorder.end(slot, Outcome.ERROR, 500, fault=fault, reason=message)
        worker.recorder.rejected("GET", f"/?token={SECRET}", "1.1", "http", "", 0, HEADERS, 400, message)


def test_no_record_has_a_secret():
    """Every exporter gets finished records and nothing else; so do the spool and the console."""
    worker = Worker()
    everything_said(worker)
    worker.wake()
    records = list(worker.memory.records)
    assert len(worker.memory.requests) == len(QUERIES) + 2 * len(MESSAGES)
    for record in records:
        assert SECRET.encode() not in msgspec.json.encode(record), record
        assert SECRET not in line(record)
        assert SECRET not in repr(record)
    assert SECRET.encode() not in pack(records)


def test_no_line_of_a_log_has_one(caplog, tmp_path):
    """Not when a backend fails, not when we have a bug, not when a frame cannot be read."""
    caplog.set_level(logging.DEBUG)

    class Repeating(MemoryExporter):
        def export(self, records) -> None:
            raise ExportError(f"cannot take {records[0]!r}")

    worker = Worker(Repeating(), config=settings())
    everything_said(worker)
    worker.source._shaper._redactor.headers = None  # a bug of ours
    worker.begin("/a", HEADERS)
    worker.journal.append(Kind.END, b"\xff" + SECRET.encode())
    for _ in range(3):
        worker.wake()
    said = " ".join(
        [*(record.getMessage() for record in caplog.records), *(sink.trouble for sink in worker.sinks)]
    )
    assert SECRET not in said
    assert (
        SECRET
        not in f"{worker.reader!r} {worker.journal!r} {worker.source!r} {worker.recorder!r} {worker.sinks!r}"
    )


def test_headers_that_are_asked_for_are_those_and_no_others():
    """Credentials never, whoever lists them."""
    worker = Worker(
        config=msgspec.structs.replace(settings(), capture=_listing("x-shop", "cookie", "authorization"))
    )
    worker.recorder = type(worker.recorder)(
        worker.journal, headers=("x-shop", "cookie", "authorization"), clock=worker.clock.ns
    )
    slot = worker.recorder.begin_text(
        "GET", "/", "1.1", "http", "", 0, [*HEADERS, *HIDDEN_HEADERS, ("X-SHOP", "main street")]
    )
    worker.recorder.end(slot, Outcome.OK, 200)
    worker.wake()
    assert worker.memory.requests[0].headers == {"x-shop": "main street"}


def _listing(*names: str):
    return msgspec.structs.replace(settings().capture, headers=names)


# ---------------------------------------------------------------- one request's data in another's record


@pytest.mark.parametrize("ring", [65536, 1 << 20], ids=["a small ring", "a large one"])
def test_no_record_has_data_of_another_request(ring, tmp_path):
    """Threads that serve at once, requests that span laps of the ring, and a death: each record is of one."""
    worker, dice = Worker(size=ring, clock=Clock()), random.Random(1)
    encode = msgspec.msgpack.encode

    def serve(thread: int) -> None:
        waiting = []
        for index in range(size(150, 3000)):
            mark = f"mark{thread}x{index}z"
            slot = worker.recorder.begin_text(
                "GET", f"/{mark}?q={mark}", "1.1", "http", mark, 1, [("HOST", mark), ("USER-AGENT", mark)]
            )
            if slot is None:
                continue
            note = (slot.number, "annotation", "mark", mark)
            worker.journal.append(Kind.NOTE, encode(note))
            waiting.append((slot, mark))
            while len(waiting) > dice.randrange(6):
                done, whose = waiting.pop(dice.randrange(len(waiting)))
                fault = fault_from(ValueError(whose)) if dice.random() < 0.3 else None
                worker.recorder.end(
                    done, Outcome.ERROR if fault else Outcome.OK, 200, fault=fault, reason=whose
                )

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        worker.reader.wake()
    for thread in threads:
        thread.join()
    worker.wake(3.0)
    told = worker.memory.requests
    assert len(told) > 100
    for request in told:
        mine = request.path.removeprefix("/")
        said = msgspec.json.encode(request).decode()
        assert said.count("mark") - said.count(mine) == bool(request.annotations), (
            said
        )  # the annotation's name
        assert request.client_ip == mine == request.host == request.user_agent


def test_what_stands_in_a_reused_place_is_never_read_again(tmp_path: Path):
    """A ring that has gone round many times, and a worker killed at once: nothing of a former lap."""
    worker = Worker(size=65536)
    for lap in range(12):
        for number in range(120):
            worker.serve(f"/{lap}/{number}/" + "x" * (number % 50))
        worker.wake()
    last = worker.begin("/last")
    found = list(worker.journal.frames())
    assert [frame.kind for frame in found] == [Kind.BEGIN_TEXT]
    assert last is not None
