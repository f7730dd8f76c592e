"""X-Ray's API: moto's answers to what we send, and every answer that costs a retry or a record."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from believable import failed, killed, request, requests, spans
from export_kit import Worker, assert_balanced
from segment_schema import checked

from server_tracing import by_hand
from server_tracing.config import Config, XRay
from server_tracing.export.exporter import ExportError, Setup
from server_tracing.export.xray.api import MOST, Api
from server_tracing.export.xray.client import client
from server_tracing.export.xray.exporter import XRayExporter
from server_tracing.export.xray.transport import Sheet
from server_tracing.record import Running

pytest.importorskip("botocore")
REGION = "eu-west-1"


@pytest.fixture(autouse=True)
def an_account(monkeypatch, tmp_path):
    """Credentials that mean nothing, and nothing of this machine's."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


class Service:
    """An endpoint that takes everything, or answers as the test scripted: a status and a body per call (or
    what makes one of the documents)."""

    def __init__(self) -> None:
        self.script: list[tuple[int, Any]] = []
        self.calls: list[list[dict[str, Any]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/TraceSegments"
                assert f"/{REGION}/xray/aws4_request" in self.headers["Authorization"]
                service.calls.append([checked(text.encode()) for text in sent["TraceSegmentDocuments"]])
                status, body = service.script.pop(0) if service.script else (200, {})
                content = json.dumps(body(service.calls[-1]) if callable(body) else body).encode()
                self.send_response(status)
                if status != 200:
                    self.send_header("x-amzn-ErrorType", body["code"])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()

    @property
    def taken(self) -> list[str]:
        """Paths of the requests, in the order they came."""
        urls = [one["http"]["request"]["url"] for call in self.calls for one in call if "http" in one]
        return [url.partition("shop.example")[2] for url in urls]


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


@pytest.fixture
def exporter(service) -> Iterator[XRayExporter]:
    settings = XRay(transport="api", region=REGION, endpoint=service.url)
    exporter = XRayExporter(Setup(Config(xray=settings), {}, "shop", ""))
    yield exporter
    exporter.close()


def refused(exporter: XRayExporter, records: list) -> ExportError:
    with pytest.raises(ExportError) as caught:
        exporter.export(records)
    return caught.value


def unprocessed(number: int, code: str) -> dict[str, str]:
    return {"Id": f"{number:016x}", "ErrorCode": code, "Message": "because"}


# ---------------------------------------------------------------- moto


def test_what_is_sent_can_be_had_back():
    """PutTraceSegments and BatchGetTraces of moto's X-Ray."""
    moto = pytest.importorskip("moto")
    import botocore.session

    with moto.mock_aws():
        exporter = XRayExporter(Setup(Config(xray=XRay(transport="api", region=REGION)), {}, "shop", ""))
        sent = [*requests(60), failed(61), killed(62), request(63, spans=spans(request(63).start))]
        exporter.export(sent)
        assert exporter.probe(request(64)) == f"X-Ray in {REGION} took a test segment"
        exporter.close()
        client = botocore.session.get_session().create_client("xray", region_name=REGION)
        names = [f"1-{one.trace_id[:8]}-{one.trace_id[8:]}" for one in [*sent, request(64)]]
        answer = client.batch_get_traces(TraceIds=names)
        client.close()
    assert answer["UnprocessedTraceIds"] == []
    found = {trace["Id"]: checked(trace["Segments"][0]["Document"].encode()) for trace in answer["Traces"]}
    assert list(found) == names
    assert found[names[60]]["fault"]
    assert [inner["name"] for inner in found[names[62]]["subsegments"]] == ["load cart", "charge card"]


# ---------------------------------------------------------------- calls


def test_documents_go_in_calls_of_fifty(exporter, service):
    """In order, whatever records they are of."""
    exporter.export(requests(120))
    assert [len(call) for call in service.calls] == [MOST, MOST, 20]
    assert service.taken == [f"/products/{number}" for number in range(1, 121)]


def test_a_record_of_many_documents_may_take_several_calls(service):
    """A segment and its subsegments."""
    settings = XRay(transport="api", region=REGION, endpoint=service.url, streaming_threshold=0)
    exporter = XRayExporter(Setup(Config(xray=settings), {}, "shop", ""))
    many = [span for number in range(35) for span in spans(request(number).start)]
    for number, span in enumerate(many):
        span.span_id, span.parent_id = f"{number + 10:016x}", f"{1:016x}"
    exporter.export([request(1, spans=many)])
    exporter.close()
    assert [len(call) for call in service.calls] == [50, 50, 6]


def test_what_is_not_processed_is_tried_again_or_counted_by_its_code(exporter, service):
    """A code that says later is one thing, a document that is wrong another, also one that is not named."""
    service.script = [
        (
            200,
            {
                "UnprocessedTraceSegments": [
                    unprocessed(2, "ThrottledException"),
                    unprocessed(3, "InvalidTraceId"),
                    unprocessed(5, "InvalidTraceId"),
                    unprocessed(6, "Odd code!"),
                    unprocessed(99, "InvalidTraceId"),
                ]
            },
        )
    ]
    sent = requests(8)
    error = refused(exporter, sent)
    assert str(error).startswith(f"X-Ray at {service.url} did not process 5 segments: ")
    assert error.remaining == [sent[1]]
    assert error.refused == {"InvalidTraceId": 3, "Odd_code_": 1}


def test_a_call_that_fails_leaves_the_records_from_there_on(exporter, service):
    """What earlier calls brought is not sent again."""
    service.script = [
        (
            200,
            {
                "UnprocessedTraceSegments": [
                    unprocessed(7, "InternalFailure"),
                    unprocessed(8, "InvalidTraceId"),
                ]
            },
        ),
        (503, {"code": "ServiceUnavailable", "message": "not now"}),
    ]
    sent = requests(120)
    error = refused(exporter, sent)
    assert error.remaining == [sent[6], *sent[50:]]
    assert error.refused == {"InvalidTraceId": 1}
    assert not error.permanent
    assert str(error) == f"X-Ray at {service.url} said ServiceUnavailable: not now"


def test_of_a_call_that_is_refused_as_a_whole_the_one_to_blame_is_found(exporter, service):
    """Its neighbours are delivered."""
    invalid = (400, {"code": "InvalidRequestException", "message": "no"})
    service.script = [invalid, (200, {}), invalid, (200, {}), invalid]
    sent = requests(4)
    error = refused(exporter, sent)
    assert (error.remaining, error.refused) == ([], {"invalid": 1})
    assert [len(call) for call in service.calls] == [4, 2, 2, 1, 1]


def test_what_is_in_progress_is_not_counted_when_it_is_refused(exporter, service):
    """Its end will be."""
    service.script = [(200, {"UnprocessedTraceSegments": [unprocessed(1, "InvalidTraceId")]})]
    exporter.export([Running(request(1, outcome="running")), request(2)])
    assert [len(call) for call in service.calls] == [2]


def test_through_the_whole_pipeline_everything_adds_up(exporter, service, tmp_path):
    """Delivered, tried again, and dropped by the service's code."""
    worker = Worker(exporter, folder=tmp_path)
    for number in range(4):
        worker.serve(f"/{number}")

    def some(taken: list[dict[str, Any]]) -> dict[str, Any]:
        codes = {1: "ThrottledException", 2: "InvalidTraceId"}
        return {"UnprocessedTraceSegments": [{"Id": taken[at]["id"], "ErrorCode": codes[at]} for at in codes]}

    service.script = [(200, some)]
    for _ in range(3):
        worker.wake()
    tally = worker.checkpoint.exporters["xray"]
    assert (tally.delivered, tally.dropped) == (3, {"InvalidTraceId": 1})
    assert [len(call) for call in service.calls] == [4, 1]
    assert_balanced(worker.checkpoint)


# ---------------------------------------------------------------- what people have to mend


SIGNATURE = "InvalidSignatureException"


@pytest.mark.parametrize(
    ("status", "code", "message", "words", "remedy"),
    [
        (403, "ExpiredTokenException", "x", "have expired (ExpiredTokenException)", "credentials"),
        (403, SIGNATURE, "Signature expired: 2026 is now earlier than 2027", "clock", "NTP"),
        (403, "RequestTimeTooSkewed", "x", "clock is not that of", "NTP"),
        (403, SIGNATURE, "Credential should be scoped to a valid region.", "another region", "xray.region"),
        (403, SIGNATURE, "The request signature we calculated does not match", "signature", "credentials"),
        (403, "UnrecognizedClientException", "x", "does not know these AWS credentials", "credentials"),
        (403, "AccessDeniedException", "not authorized: xray:Put", "may not use", "AWSXRayDaemonWriteAccess"),
        (429, "ThrottledException", "Rate exceeded", "asks for less", ""),
        (500, "InternalFailure", "oops", "said InternalFailure: oops", ""),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_lost(
    exporter, service, status, code, message, words, remedy
):
    """It can be mended, and everything waits for that."""
    service.script = [(status, {"code": code, "message": message})]
    sent = requests(3)
    error = refused(exporter, sent)
    assert words in str(error)
    assert remedy in error.remedy
    assert "\n" not in str(error)
    assert "secret" not in str(error)
    assert (error.permanent, error.remaining, error.refused) == (False, sent, {})
    assert (error.retry_after is not None) is (code == "ThrottledException")


def test_an_endpoint_that_is_not_there_is_said_to_be_unreachable(service):
    """With its address."""
    service.close()
    exporter = XRayExporter(
        Setup(Config(xray=XRay(transport="api", region=REGION, endpoint=service.url)), {}, "shop", "")
    )
    assert "cannot be reached: " in str(refused(exporter, requests(1)))


@pytest.mark.parametrize(("set_by_us", "found"), [("", "eu-north-1"), (REGION, REGION)])
def test_the_region_may_be_the_environments(monkeypatch, set_by_us, found):
    """AWS_REGION is what containers have and the daemon reads; botocore reads another one."""
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = client(XRay(region=set_by_us))
    made.close()
    assert made.meta.region_name == found


def test_no_credentials_and_no_region_are_said_to_be_missing(monkeypatch):
    """Before anything is sent."""
    exporter = XRayExporter(Setup(Config(xray=XRay(transport="api")), {}, "shop", ""))
    assert str(refused(exporter, requests(1))).startswith("no AWS region is known for X-Ray: ")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    exporter = XRayExporter(Setup(Config(xray=XRay(transport="api", region=REGION)), {}, "shop", ""))
    error = refused(exporter, requests(1))
    assert str(error).startswith(f"there are no AWS credentials for X-Ray in {REGION}: ")


def test_without_botocore_it_says_what_to_install():
    """And waits for that, too."""

    def missing(settings: XRay) -> Any:
        raise ModuleNotFoundError("No module named 'botocore'")

    with pytest.raises(ExportError, match="needs botocore") as caught:
        Api(XRay(region=REGION), missing).probe(Sheet("", b""))
    assert caught.value.remedy == "pip install 'server-tracing[xray]'"


def test_a_probe_says_what_the_service_did_not_like(exporter, service):
    """For `doctor`."""
    service.script = [(200, {"UnprocessedTraceSegments": [unprocessed(1, "InvalidTraceId")]})]
    with pytest.raises(ExportError, match="did not process a test segment: InvalidTraceId because"):
        exporter.probe(request(1))


def test_its_repr_says_where_it_leads(exporter, service):
    """The endpoint, or the region."""
    assert repr(exporter) == f"<XRayExporter to X-Ray at {service.url}>"
    assert repr(Api(XRay(region="eu-north-1"))) == "<Api of X-Ray in eu-north-1>"


def test_segments_begun_by_hand_are_sent_again_or_said_to_be_lost(exporter, service, caplog):
    """They are in no account, so the log has to say what became of them."""

    for number in (1, 2):
        document = {"id": f"{number:016x}", "name": "job", "trace_id": f"1-00000001-{1:024x}"}
        by_hand.add(document["id"], json.dumps({**document, "start_time": 1.0, "end_time": 2.0}))
    refusals = [unprocessed(1, "ThrottledException"), unprocessed(2, "InvalidTraceId")]
    service.script = [(200, {"UnprocessedTraceSegments": refusals})]
    exporter.tend()
    assert len(caplog.messages) == 1
    assert "segments begun by hand are lost: " in caplog.text
    exporter.part()
    assert [[one["id"][-1] for one in call] for call in service.calls] == [["1", "2"], ["1"]]
