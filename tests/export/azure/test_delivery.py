"""Delivery: whatever the service answers, every record is delivered, waits, or is counted with its reason."""

from __future__ import annotations

import gzip
import threading
from datetime import timedelta
from email.utils import format_datetime

import msgspec
import pytest
from azure_kit import config, exporter, exporting, now, request
from believable import failed, spans, vitals
from export_kit import Worker, assert_balanced
from ingestion import Answer, Ingestion

from server_tracing.export.azure import AzureExporter, payload
from server_tracing.export.azure.answers import QUOTA_PAUSE, WRONG_PLACE_PAUSE, ruling
from server_tracing.export.azure.wire import Reply
from server_tracing.export.exporter import ExportError, Setup
from server_tracing.export.pace import Pace
from server_tracing.export.sending.spool_file import pack, unpack
from server_tracing.record import Counts


@pytest.fixture
def service():
    with Ingestion() as service:
        yield service


@pytest.fixture
def azure(service):
    with exporting(service, timeout=5.0) as one:
        yield one


def refused(one, records) -> ExportError:
    with pytest.raises(ExportError) as caught:
        one.export(records)
    return caught.value


def ids(service):
    return [data["id"] for data in service.requests()]


# ---------------------------------------------------------------- what travels


def test_items_travel_as_a_compressed_array_over_one_connection(service, azure):
    """As the protocol has it, and cheaply."""
    for number in range(5):
        azure.export([request(number), request(number + 100)])
    first = service.posts[0]
    assert first.path == "/v2.1/track"
    assert first.headers["content-encoding"] == "gzip"
    assert first.headers["content-type"] == "application/json; charset=utf-8"
    assert "authorization" not in first.headers
    assert [len(post.items) for post in service.posts] == [2] * 5
    assert service.connections == 1


def test_a_body_is_gzip():
    """Readable by anybody."""
    assert gzip.decompress(payload.body([b'{"a":1}', b"2"])) == b'[{"a":1},2]'


def test_batches_are_bounded_in_count_and_bytes():
    """Whatever comes first; one that is too large travels alone."""
    assert list(payload.chunks([b"x"] * 2500)) == [(0, 1000), (1000, 2000), (2000, 2500)]
    assert list(payload.chunks([b"x" * 40] * 5, 100)) == [(0, 2), (2, 4), (4, 5)]
    assert list(payload.chunks([b"x" * 400, b"y"], 100)) == [(0, 1), (1, 2)]
    assert list(payload.chunks([])) == []


def test_nothing_is_asked_of_anybody_before_there_is_something_to_send(service):
    """The constructor waits for nobody, and an empty batch is no post."""
    with exporting(service, credential="no.such:Credential", processors=("no.such:thing",)) as one:
        assert service.connections == 0
        assert repr(one).startswith("<AzureExporter ")
    with exporting(service, metrics_interval=0.0) as one:
        one.export([])
        one.export([vitals(time=now(), window_ms=1000.0, counts=Counts(1))])
    assert service.connections == 0


def test_a_connection_the_service_has_closed_is_opened_again(service, azure):
    """Nobody notices, nothing is sent twice."""
    azure.export([request(1)])
    service.hang_up()
    azure.export([request(2)])
    service.script(Answer(hang_up=True))
    azure.export([request(3)])
    azure.export([request(4)])
    assert ids(service) == [f"{number:016x}" for number in (1, 2, 3, 4)]
    assert service.connections == 3


# ---------------------------------------------------------------- every status


HOLD = [401, 402, 403, 404, 407, 408, 418, 429, 439, 500, 502, 503, 504, 505, 301, 302, 303, 304, 599]


@pytest.mark.parametrize("status", HOLD)
def test_what_is_not_refused_for_good_waits(service, azure, status):
    """All of it, with a sentence that says why, and is delivered when the service takes it."""
    service.script(Answer(status))
    records = [request(1), failed(2, start=now())]
    error = refused(azure, records)
    assert error.remaining == records
    assert error.refused == {}
    assert str(status) in str(error) or status == 407
    azure.export(error.remaining)
    assert ids(service) == [f"{number:016x}" for number in (1, 2)]


@pytest.mark.parametrize(
    ("status", "pause"),
    [(402, QUOTA_PAUSE), (439, QUOTA_PAUSE), (404, WRONG_PLACE_PAUSE), (429, None), (503, None), (401, None)],
)
def test_how_long_it_waits_where_the_service_does_not_say(service, azure, status, pause):
    """A quota is not renewed in seconds; the rest is the back-off's."""
    service.script(Answer(status))
    assert refused(azure, [request()]).retry_after == pause


@pytest.mark.parametrize("status", [402, 429, 439, 500, 503])
def test_retry_after_is_read_in_seconds(service, azure, status):
    """Whatever the reason."""
    service.script(Answer(status, {"Retry-After": "7"}))
    assert refused(azure, [request()]).retry_after == 7.0


def test_retry_after_may_be_a_date_by_the_services_clock(service, azure):
    """However wrong ours is."""
    service.ahead = timedelta(minutes=50)
    until = format_datetime(now().replace(microsecond=0) + timedelta(minutes=52), usegmt=True)
    service.script(Answer(503, {"Retry-After": until}))
    assert 100 < (refused(azure, [request()]).retry_after or 0) < 130


@pytest.mark.parametrize("said", ["soon", "-5", "Thu, 99 Foo", "1e9x", "\u0665"])
def test_a_retry_after_that_says_nothing_is_none(said):
    """Then the back-off decides."""
    assert ruling(Reply(503, {"retry-after": said}, b""), 1).retry_after is None


@pytest.mark.parametrize("status", [201, 202, 204])
def test_other_ways_to_say_yes(service, azure, status):
    """Nothing is sent twice over a number."""
    service.script(Answer(status, body=b""))
    azure.export([request()])


def test_a_login_page_is_no_receipt(service, azure):
    """A proxy that answers 200 with a page of its own has delivered nothing."""
    service.script(Answer(200, body=b"<!DOCTYPE html><title>Log in</title>"))
    error = refused(azure, [request()])
    assert "not as the ingestion service does" in str(error)
    assert len(error.remaining) == 1


# ---------------------------------------------------------------- item by item


def test_of_a_partial_success_each_item_gets_its_due(service, azure, caplog):
    """Delivered, refused with the reason, or to be sent again: only those."""
    service.script(Answer(206, errors={1: (400, "104: bad name"), 2: (503, "busy"), 3: (429, "slow")}))
    records = [request(number) for number in range(5)]
    error = refused(azure, records)
    assert error.remaining == records[2:4]
    assert error.refused == {"refused_400": 1}
    assert caplog.messages == ["Application Insights refuses items (1 now): 400 104: bad name"]
    azure.export(error.remaining)
    assert ids(service) == [f"{number:016x}" for number in (0, 4, 2, 3)]


def test_what_is_left_of_a_record_is_sent_alone(service, azure):
    """Its request was accepted, dependencies were not: it is not sent again, not even after a restart."""
    began = now()
    one = failed(7, start=began, spans=spans(began))
    service.script(Answer(206, errors={1: (503, "busy"), 3: (503, "busy")}))
    error = refused(azure, [one])
    (rest,) = unpack(pack(error.remaining)).records
    assert rest.unsent == [1, 3]
    with exporting(service) as another:
        another.export([rest])
    assert service.kinds() == [
        "RequestData",
        *["RemoteDependencyData"] * 2,
        "ExceptionData",
        "RemoteDependencyData",
    ]
    assert len({str(item["data"]["baseData"].get("id")) for item in service.accepted}) == 5


def test_a_refused_dependency_does_not_cost_its_request(service, azure):
    """The request was delivered, and counts as that."""
    began = now()
    service.script(Answer(206, errors={2: (400, "no")}))
    azure.export([request(1, start=began, spans=spans(began))])
    service.script(Answer(206, errors={0: (400, "no")}))
    assert refused(azure, [request(2, start=began, spans=spans(began))]).refused == {"refused_400": 1}


def test_metrics_are_not_sent_twice_either(service, azure):
    """Counts would be wrong."""
    one = vitals(time=now(), window_ms=60_000.0, counts=Counts(10, 10, 5.0, 0))
    service.script(Answer(206, errors={0: (500, "busy")}))
    error = refused(azure, [one])
    azure.export(error.remaining)
    names = [item["data"]["baseData"]["metrics"][0]["name"] for item in service.accepted]
    assert len(names) == len(set(names)) == 5


def test_a_400_refuses_all_with_what_was_said(service, azure):
    """Nobody tries that again."""
    service.script(Answer(400, errors=dict.fromkeys((0, 1), (400, "100: Invalid instrumentation key"))))
    error = refused(azure, [request(1), request(2)])
    assert error.refused == {"refused_400": 2}
    assert not error.remaining
    assert "Invalid instrumentation key" in str(error)


def test_a_400_that_is_a_page_is_not_the_services(service, azure):
    """A web server says so to http at its https port, for instance: a setting is wrong, not the items."""
    page = b"<html>\r\n<title>400 The plain HTTP request was sent to HTTPS port</title>"
    service.script(Answer(400, {"Content-Type": "text/html"}, page))
    error = refused(azure, [request(1), request(2)])
    assert len(error.remaining) == 2
    assert (error.refused, error.remedy) == ({}, "look for a proxy")


def test_a_quota_that_is_used_up_within_a_batch_pauses(service, azure):
    """The rest of the batch is for tomorrow."""
    service.script(Answer(206, errors={1: (439, "quota")}))
    error = refused(azure, [request(1), request(2)])
    assert (len(error.remaining), error.retry_after) == (1, QUOTA_PAUSE)


@pytest.mark.parametrize(
    "body", [b"", b"garbage", b"[]", b'{"errors": 7}', b'{"itemsReceived":2,"itemsAccepted":1}']
)
def test_a_partial_success_nobody_can_read_is_asked_again_but_not_for_ever(service, azure, body):
    """At most three times, since what was accepted arrives again."""
    service.always = Answer(206, body=body)
    for _ in range(2):
        assert len(refused(azure, [request(1), request(2)]).remaining) == 2
    assert refused(azure, [request(1), request(2)]).refused == {"garbled_answer": 2}


@pytest.mark.parametrize(
    "body",
    [
        b'{"itemsReceived":2,"itemsAccepted":1,"errors":[{"index":99,"statusCode":400,"message":"x"}]}',
        b'{"itemsReceived":2,"itemsAccepted":1,"errors":[{"index":-1,"statusCode":400,"message":null}]}',
    ],
)
def test_errors_of_items_that_were_not_sent_are_no_answer(service, azure, body):
    """Then nobody knows which one was meant."""
    service.script(Answer(206, body=body))
    assert len(refused(azure, [request(1), request(2)]).remaining) == 2


def test_too_much_at_once_goes_in_halves(service, azure):
    """Until it fits, and less at once from then on."""
    service.script(Answer(413), Answer(413))
    azure.export([request(number) for number in range(8)])
    assert [len(post.items) for post in service.posts] == [8, 4, 2, 2, 4]
    assert len(set(ids(service))) == 8


def test_an_item_that_is_too_large_alone_is_refused(service, azure):
    """And nothing else with it."""
    service.script(Answer(413), Answer(413))
    error = refused(azure, [request(1), request(2)])
    assert error.refused == {"too_large": 1}
    assert ids(service) == [f"{2:016x}"]


def test_halves_that_have_to_wait_wait_together(service, azure):
    """What was taken is taken, the rest is for later, in order."""
    service.script(Answer(413), Answer(), Answer(503))
    records = [request(number) for number in range(4)]
    assert refused(azure, records).remaining == records[2:]


def test_what_comes_behind_a_refusal_to_serve_is_not_even_tried(service, azure, monkeypatch):
    """A service that is down is left alone."""
    monkeypatch.setattr(azure._courier, "_most_bytes", 2000)
    service.script(Answer(), Answer(503, {"Retry-After": "9"}))
    records = [request(number) for number in range(10)]
    error = refused(azure, records)
    assert len(service.posts) == 2
    assert error.remaining == records[len(service.posts[0].items) :]
    assert error.retry_after == 9


# ---------------------------------------------------------------- no answer


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Length: 99\r\n\r\n{",
        b"\x00" * 100_000,
    ],
)
def test_no_answer_and_half_an_answer_are_no_success(service, azure, raw):
    """The connection is given up, the records wait."""
    service.script(Answer(raw=raw))
    assert len(refused(azure, [request(1)]).remaining) == 1
    azure.export([request(1)])
    assert service.connections == 2


def test_half_a_receipt_of_a_yes_is_a_yes(service, azure):
    """The status came first; to send again would deliver twice."""
    service.script(Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"))
    azure.export([request(1)])
    azure.export([request(2)])
    assert service.connections == 2


def test_a_service_that_does_not_answer_in_time_is_left(service):
    """With the setting's time in the sentence."""
    gate = threading.Event()
    service.script(Answer(gate=gate))
    with exporting(service, timeout=0.2) as one:
        error = refused(one, [request()])
    gate.set()
    assert str(error) == f"{service.endpoint} did not answer within 0.2 s"


def test_nobody_there():
    """Refused, or not known to the DNS: one sentence, and nothing is lost."""
    with Ingestion() as service:
        one = exporter(service)
    error = refused(one, [request()])
    assert str(error) == f"{service.endpoint} refused the connection"
    string = f"InstrumentationKey={service.key};IngestionEndpoint=http://no-such-host.invalid"
    error = refused(exporter(service, connection_string=string), [request()])
    assert "no-such-host.invalid is not known" in str(error)
    assert len(error.remaining) == 1


# ---------------------------------------------------------------- wrong clocks


@pytest.mark.parametrize("days", [3, -3])
def test_a_clock_that_is_wrong_costs_nothing(service, azure, days):
    """It is said in one sentence, and times are corrected until it is right again."""
    service.ahead = timedelta(days=days)
    error = refused(azure, [request(1)])
    direction = "behind" if days > 0 else "ahead of"
    assert str(error) == f"this machine's clock is 3d {direction} the service's; times are corrected by that"
    azure.export(error.remaining)
    azure.export([request(2)])
    assert ids(service) == [f"{number:016x}" for number in (1, 2)]
    service.ahead = timedelta(0)
    refused(azure, [request(3)])  # the clock was set: this one was shaped before we heard of it
    azure.export([request(3)])
    assert service.accepted[-1]["time"][:13] == now().isoformat()[:13]


def test_what_is_too_old_by_any_clock_is_refused(service, azure):
    """Correcting does not make it younger."""
    error = refused(azure, [request(1, start=now() - timedelta(days=3))])
    assert error.refused == {"refused_400": 1}
    assert "older than the allowed min date" in str(error)


# ---------------------------------------------------------------- behind the sender


def test_through_an_outage_every_request_is_delivered_once(service, tmp_path):
    """Spooled, partly accepted, throttled: the accounts balance, and nothing comes twice."""
    service.any_time = True
    azure = exporter(service, tmp_path)
    worker = Worker(azure, folder=tmp_path)
    service.script(*[Answer(503)] * 4, Answer(206, errors={0: (429, "slow")}), Answer(402))
    for number in range(40):
        worker.serve(f"/{number}")
        worker.wake(1.0, steps=1)
    for _ in range(8):
        worker.wake(QUOTA_PAUSE)
    azure.close()
    assert len(ids(service)) == len(set(ids(service))) == 40
    assert worker.checkpoint.exporters["azure"].delivered == 40
    assert_balanced(worker.checkpoint)


def test_the_spool_is_bounded_as_the_settings_say(service, tmp_path):
    """In size and time."""
    azure = exporter(service, tmp_path, storage_max_size=1 << 20, storage_retention=3600.0)
    (sink,) = Worker(azure, folder=tmp_path).sinks
    assert (sink.traits.spool_size, sink.traits.spool_age) == (1 << 20, 3600.0)


def test_a_record_we_cannot_shape_costs_itself_only(service, azure, caplog):
    """A bug of ours is said and counted."""
    strange = msgspec.structs.replace(request(1), spans=[7])
    error = refused(azure, [strange, request(2)])
    assert error.refused == {"failed": 1}
    assert ids(service) == [f"{2:016x}"]
    assert "cannot be shaped" in caplog.messages[0]
    assert "cannot be shaped" in str(error)


def test_a_request_with_a_thousand_spans_leaves_the_interpreter_to_others(service):
    """Requests must not wait for it: there is a rest every so many items."""
    rests = []
    setup = Setup(config(service), {}, "shop", "")
    azure = AzureExporter(setup, pace=Pace(sleep=rests.append))
    began = now()
    azure.export([request(1, start=began, spans=spans(began) * 334)])
    azure.close()
    assert len(service.accepted) == 1003
    assert len(rests) >= 1003 / 64 - 1


def test_a_probe_says_what_came_back(service, azure):
    """For `server-tracing doctor`."""
    said = azure.probe(request())
    assert said.startswith(f"{service.endpoint}/v2.1/track answered 200 in ")
    assert said.endswith("1 of 1 items accepted")
