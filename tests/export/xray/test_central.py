"""The process and X-Ray's service: what is asked when, what comes of it, and what if nobody answers."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from central_kit import IN, NOTHING_KEPT, OUT, Clock, request, sampler
from sampling_service import DEFAULT_RULE, SamplingService, serving

from server_tracing.config import Config, XRay
from server_tracing.daemon_address import Place
from server_tracing.export.xray.central import Consultation, consultation
from server_tracing.export.xray.control_plane import ControlPlane, ControlPlaneError, Reply, http_date
from server_tracing.export.xray.daemon_call import DaemonCaller
from server_tracing.export.xray.signed_call import SignedCaller
from server_tracing.sampling.central import Central

ALL = {**DEFAULT_RULE, "RuleName": "all", "Priority": 1, "FixedRate": 1.0, "ReservoirSize": 0}
BOOST = {"SamplingRateBoost": {"MaxRate": 1.0, "CooldownWindowMinutes": 5}}


@pytest.fixture
def service() -> Iterator[SamplingService]:
    """One that listens, and keeps everything."""
    made = SamplingService()
    made.rules = [ALL]
    with serving(made):
        yield made


class Process:
    """One process with rules, a sampler and a clock that is moved by hand."""

    def __init__(self, service: SamplingService, caller: Any = None) -> None:
        self.clock = Clock()
        self.rules = Central(NOTHING_KEPT, self.clock)
        self.decide = sampler(self.rules).decide
        caller = caller or DaemonCaller(Place("127.0.0.1", service.port))
        self.plane = ControlPlane(caller, "shop", self.clock, service.clock)
        self.consultation = Consultation(self.rules, self.plane, service.clock, draw=lambda: 0.0)

    def after(self, seconds: float) -> float:
        """Tend it then."""
        self.clock.now += seconds
        return self.consultation.tend()


# ------------------------------------------------------------------ in order


def test_rules_come_first_and_then_every_five_minutes(service: SamplingService) -> None:
    """Targets every ten seconds, where there is something to report."""
    process = Process(service)
    assert process.after(0) == 10.0
    assert process.rules.fresh
    for _ in range(30):
        process.after(10)
    assert [path for path, _ in service.calls] == ["/GetSamplingRules"] * 2


def test_statistics_go_out_and_targets_come_in(service: SamplingService) -> None:
    """A quota of two, for as long as the service says."""
    service.rules = [{**DEFAULT_RULE, "FixedRate": 0.0}]
    service.targets["Default"] = {
        "ReservoirQuota": 2,
        "ReservoirQuotaTTL": service.clock() + 15,
        "Interval": 10,
    }
    process = Process(service)
    process.after(0)
    process.decide(request(), OUT)
    process.decide(request(), OUT)
    process.after(10)
    (sent,) = service.statistics()
    assert (sent["RuleName"], sent["RequestCount"], sent["BorrowCount"], sent["SampledCount"]) == (
        "Default", 2, 1, 0,
    )  # fmt: skip
    assert sent["ClientID"] == process.consultation.client_id
    process.clock.now += 1
    assert [process.decide(request(), OUT).sampled for _ in range(3)] == [True, True, False]
    process.clock.now += 20
    assert [process.decide(request(), OUT).sampled for _ in range(3)] == [True, False, False]


def test_every_page_of_rules_is_read(service: SamplingService) -> None:
    """The SDK reads the first."""
    service.rules = [{**DEFAULT_RULE, "RuleName": f"r{n}", "Priority": n + 1} for n in range(7)]
    service.page = 3
    process = Process(service)
    process.after(0)
    assert repr(process.rules) == "<Central 7 rules in force>"
    assert [call.get("NextToken") for call in service.called("/GetSamplingRules")] == [None, "3", "6"]


def test_no_call_holds_more_than_25_documents(service: SamplingService) -> None:
    """30 rules are two calls, each with its boosts."""
    service.rules = [
        {**ALL, **BOOST, "RuleName": f"r{n}", "Priority": n + 1, "URLPath": f"/{n}"} for n in range(30)
    ]
    process = Process(service)
    process.after(0)
    for number in range(30):
        process.decide(request(f"/{number}"), IN)
    process.after(10)
    calls = service.called("/SamplingTargets")
    assert [len(call["SamplingStatisticsDocuments"]) for call in calls] == [25, 5]
    assert [len(call["SamplingBoostStatisticsDocuments"]) for call in calls] == [25, 5]
    assert process.rules.reports() == []


def test_anomalies_are_told_of_rules_that_may_be_boosted(service: SamplingService) -> None:
    """And the boost that comes for it raises the rate while it lasts."""
    service.rules = [{**ALL, **BOOST, "FixedRate": 0.0}]
    service.targets["all"] = {"SamplingBoost": {"BoostRate": 1.0, "BoostRateTTL": service.clock() + 60}}
    process = Process(service)
    process.after(0)
    assert not process.decide(request(status=500), OUT).sampled
    process.after(10)
    (boosts,) = service.called("/SamplingTargets")[0]["SamplingBoostStatisticsDocuments"]
    boosts.pop("Timestamp")
    assert boosts == {
        "RuleName": "all", "ServiceName": "shop",
        "AnomalyCount": 1, "TotalCount": 1, "SampledAnomalyCount": 0,
    }  # fmt: skip
    assert process.decide(request(), OUT).sampled
    process.clock.now += 61
    assert not process.decide(request(), OUT).sampled


def test_changed_rules_are_fetched_at_once(service: SamplingService) -> None:
    """A reply for targets says when somebody changed them; said again, it is no news."""
    process = Process(service)
    process.after(0)
    process.decide(request(), IN)
    process.after(10)
    assert process.after(0.1) > 0
    assert len(service.called("/GetSamplingRules")) == 1
    service.modified = service.clock() + 60
    process.decide(request(), IN)
    assert process.after(10) == 0.0
    process.after(0)
    process.decide(request(), IN)
    process.after(10)
    process.after(0)
    assert len(service.called("/GetSamplingRules")) == 2


def test_a_rule_that_is_not_understood_costs_itself(
    service: SamplingService, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says which are left out."""
    odd = {**ALL, "RuleName": "odd", "Attributes": {"customer": "17"}}
    service.rules = [odd, {"RuleName": "broken"}, ALL]
    process = Process(service)
    with caplog.at_level(logging.INFO, "server_tracing.export"):
        process.after(0)
    assert repr(process.rules) == "<Central 1 rules in force>"
    assert caplog.messages == [
        f"Sampling rules from the X-Ray daemon at 127.0.0.1:{service.port}: 1;"
        " left out, for they ask what is not known here: odd; 1 could not be read."
    ]


class Said:
    """A caller that gives one reply, whatever it is asked."""

    place = "here"

    def __init__(self, **content: Any) -> None:
        self.content = content

    def call(self, operation: str, parameters: Any) -> Reply:
        return Reply(self.content, None)


def test_numbers_and_nothings_are_understood_as_others_write_them() -> None:
    """Whole numbers with a point, null for an empty list; what makes no sense costs itself."""
    floats = {**ALL, "Priority": 1.0, "ReservoirSize": 5.0, "FixedRate": 1, "Attributes": None}
    plane = ControlPlane(Said(SamplingRuleRecords=[{"SamplingRule": floats}, 5]), "shop", Clock(), Clock())
    fetched = plane.rules()
    assert ([one.reservoir for one in fetched.definitions], fetched.unreadable) == ([5], 1)
    for content in ({}, {"SamplingTargetDocuments": None, "UnprocessedStatistics": None}):
        granted = ControlPlane(Said(**content), "shop", Clock(), Clock()).targets([], "id")
        assert granted == ([], [], [], None)
    some = [{"RuleName": "a", "ReservoirQuota": 1.0, "Interval": "10"}, {"FixedRate": 1}, None]
    granted = ControlPlane(Said(SamplingTargetDocuments=some), "shop", Clock(), Clock()).targets([], "id")
    assert [(one.name, one.quota, one.interval) for one in granted.targets] == [("a", 1, 10.0)]


# ------------------------------------------------------------------ out of order


def test_a_clock_that_is_wrong_does_not_spoil_a_quota(caplog: pytest.LogCaptureFixture) -> None:
    """Ten minutes fast here: the quota still holds for its fifteen seconds, and one line says it."""
    with serving(SamplingService()) as service:
        service.rules = [{**DEFAULT_RULE, "FixedRate": 0.0}]
        now = service.clock()
        service.clock = lambda: now
        process = Process(service)
        process.plane._wall = process.consultation._wall = lambda: now + 600
        service.targets["Default"] = {"ReservoirQuota": 3, "ReservoirQuotaTTL": now + 15}
        process.after(0)
        process.decide(request(), OUT)
        process.after(10)
        process.clock.now += 1
        assert [process.decide(request(), OUT).sampled for _ in range(4)] == [True, True, True, False]
        process.clock.now += 15
        assert [process.decide(request(), OUT).sampled for _ in range(2)] == [True, False]
    assert caplog.messages == [
        "This machine's clock is 10 min fast: X-Ray may misplace or refuse its segments."
    ]


def test_statistics_that_are_not_taken_are_kept(
    service: SamplingService, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that fails loses nothing; the next one has both."""
    process = Process(service)
    process.after(0)
    process.decide(request(), IN)
    service.failures = [(429, b'{"message": "Rate exceeded", "__type": "ThrottledException"}')] * 2
    process.after(10)
    process.decide(request(), IN)
    assert process.after(10) == 20.0
    process.after(20)
    assert [one["RequestCount"] for one in service.statistics()] == [1, 2, 2]
    assert caplog.messages == [
        f"the X-Ray daemon at 127.0.0.1:{service.port} takes no sampling statistics:"
        " HTTP 429 ThrottledException Rate exceeded; they are kept."
    ]


def test_what_was_decided_since_the_last_report_is_reported_at_the_end(service: SamplingService) -> None:
    """Or the console would never hear of the last seconds of a worker, due or not."""
    process = Process(service)
    process.after(0)
    process.decide(request(), IN)
    process.after(3)
    assert service.statistics() == []
    process.consultation.part()
    assert [(one["RuleName"], one["RequestCount"]) for one in service.statistics()] == [("all", 1)]
    process.consultation.part()
    assert len(service.called("/SamplingTargets")) == 1


def test_a_service_that_took_no_report_is_not_asked_at_the_end(service: SamplingService) -> None:
    """The time of a worker that ends belongs to its records."""
    process = Process(service)
    process.after(0)
    process.decide(request(), IN)
    service.failures = [(500, b"{}")]
    process.after(10)
    process.consultation.part()
    assert len(service.statistics()) == 1


def test_what_one_rule_is_refused_costs_no_other(
    service: SamplingService, caplog: pytest.LogCaptureFixture
) -> None:
    """What may be taken another time is sent again; what never will be is said, once."""
    service.rules = [{**ALL, "RuleName": name, "URLPath": f"/{name}"} for name in ("good", "late", "never")]
    process = Process(service)
    process.after(0)
    service.unprocessed = {"late": ("500", "try again"), "never": ("400", "bad rule")}
    for name in ("good", "late", "never"):
        process.decide(request(f"/{name}"), IN)
    process.after(10)
    service.unprocessed = {}
    process.after(10)
    assert [one["RuleName"] for one in service.statistics()] == ["good", "late", "never", "late"]
    assert caplog.messages == ["X-Ray refused sampling statistics: never: 400 bad rule."]


def test_without_rules_the_local_ones_decide_and_it_is_tried_again(
    service: SamplingService, caplog: pytest.LogCaptureFixture
) -> None:
    """After ten seconds, then twice as long; said once."""
    process = Process(service)
    service.failures = [(503, b"")] * 3
    waits = []
    for seconds in (0, 10, 20, 40):
        process.after(seconds)
        waits.append(process.consultation._fetch_at - process.clock.now)
    assert waits == [10.0, 20.0, 40.0, 300.0]
    assert process.rules.fresh
    assert caplog.messages == [
        f"No sampling rules from the X-Ray daemon at 127.0.0.1:{service.port}: HTTP 503;"
        " until then the local ones decide."
    ]


def test_rules_that_cannot_be_refreshed_go_on_for_an_hour(service: SamplingService) -> None:
    """Then the local ones decide, until the service is back."""
    process = Process(service)
    process.after(0)
    service.failures = [(500, b"")] * 100
    decided = [process.decide(request(), OUT).rule]
    for _ in range(12):
        process.after(300)
    decided.append(process.decide(request(), OUT).rule)
    process.after(1)
    decided.append(process.decide(request(), OUT).rule)
    service.failures = []
    process.after(300)
    decided.append(process.decide(request(), OUT).rule)
    assert decided == ["all", "all", "default", "all"]


def test_a_reply_without_rules_changes_nothing(service: SamplingService) -> None:
    """An account always has the default rule."""
    process = Process(service)
    process.after(0)
    service.rules = []
    process.after(300)
    assert process.decide(request(), IN).rule == "all"


# ------------------------------------------------------------------ the daemon


def answered_by(content: bytes, wait: float = 0.0) -> Iterator[int]:
    """A port where this is the answer to whatever comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if content:
                    connection.sendall(content)
                else:
                    connection.recv(1)  # until the other side gives up

        thread = Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the reply is no HTTP: is it X-Ray's daemon that listens there?"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "the reply is no JSON: is it X-Ray's daemon that listens there?"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "the reply is no JSON: is it X-Ray's daemon that listens there?"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "the reply is chunked, which"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n\x1b[31m", "HTTP 403"),
        (b'HTTP/1.1 400 Bad\r\n\r\n{"__type": "a#ExpiredTokenException"}', "HTTP 400 ExpiredTokenException"),
        (
            b'HTTP/1.1 403 No\r\nx-amzn-ErrorType: AccessDenied:http://x\r\n\r\n{"Message": "not\\nyou"}',
            "HTTP 403 AccessDenied not",
        ),
        (b'HTTP/1.1 200 OK\r\n\r\n{"SamplingRuleRecords": 5}', "the reply makes no sense: "),
        (b"", "no reply within 0.3 s"),
    ],
)
def test_what_the_daemon_answers_is_said_in_one_sentence(content: bytes, said: str) -> None:
    """No traceback, no control characters, no more than a line."""
    for port in answered_by(content):
        plane = ControlPlane(DaemonCaller(Place("127.0.0.1", port), patience=0.3), "shop", Clock(), Clock())
        with pytest.raises(ControlPlaneError) as caught:
            plane.rules()
    assert str(caught.value).startswith(said)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("place", "said"),
    [(Place("127.0.0.1", 1), "Connection refused"), (Place("n" * 64, 2000), "label")],
)
def test_a_daemon_that_is_not_there_is_said_so(place: Place, said: str) -> None:
    """Refused, or of no address."""
    with pytest.raises(ControlPlaneError, match=said):
        DaemonCaller(place).call("GetSamplingRules", {})


def test_ipv6_is_a_place_too() -> None:
    """In brackets where it is written."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                assert f"Host: [::1]:{port}\r\n".encode() in connection.recv(65536)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n{}")

        thread = Thread(target=answer)
        thread.start()
        assert DaemonCaller(Place("::1", port)).call("GetSamplingRules", {}) == ({}, None)
        thread.join()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        ("", None),
        ("Sonntag", None),
        ("Sun, 06 Nov 1994 99:49:37 GMT", None),
        ("Sun, 06 Brumaire 1994 08:49:37 GMT", None),
    ],
)
def test_the_services_clock_is_read_off_its_date(text: str, seconds: float | None) -> None:
    """What is none counts as not told."""
    assert http_date(text) == seconds


# ------------------------------------------------------------------ signed


def test_without_a_daemon_botocore_signs(service: SamplingService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same calls, with timestamps as it has them."""
    pytest.importorskip("botocore")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not one")
    settings = XRay(transport="api", region="eu-west-1", endpoint=f"http://127.0.0.1:{service.port}")
    service.rules = [{**DEFAULT_RULE, **BOOST, "FixedRate": 0.0}]
    service.targets["Default"] = {
        "ReservoirQuota": 2,
        "ReservoirQuotaTTL": service.clock() + 15,
        "SamplingBoost": {"BoostRate": 0.0, "BoostRateTTL": service.clock() + 60},
    }
    process = Process(service, SignedCaller(settings))
    process.after(0)
    process.decide(request(), OUT)
    process.after(10)
    process.clock.now += 1
    assert [process.decide(request(), OUT).sampled for _ in range(3)] == [True, True, False]
    assert service.statistics()[0]["BorrowCount"] == 1


def test_what_botocore_says_is_said_in_one_sentence(
    service: SamplingService, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """No credentials, say: its exception's name and words."""
    pytest.importorskip("botocore")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = XRay(transport="api", region="eu-west-1", endpoint=f"http://127.0.0.1:{service.port}")
    with pytest.raises(
        ControlPlaneError, match=r"^there are no AWS credentials for it: Unable to locate credentials"
    ):
        SignedCaller(settings).call("GetSamplingRules", {})
    assert service.calls == []


# ------------------------------------------------------------------ the process


def test_the_settings_say_by_whom_calls_go() -> None:
    """Through the TCP door of the daemon, or to the API of a region."""
    rules = Central(NOTHING_KEPT)
    by_daemon = Config(xray=XRay(daemon_address="tcp:10.0.0.1:2001 udp:10.0.0.1:2000"))
    by_api = Config(xray=XRay(transport="api", region="eu-west-1"))
    assert "the X-Ray daemon at 10.0.0.1:2001" in repr(consultation(rules, by_daemon, "shop"))
    assert "the X-Ray API of eu-west-1" in repr(consultation(rules, by_api, "shop"))


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_has_an_id_of_its_own() -> None:
    """24 hex digits, the same for as long as the process lives."""
    one = consultation(Central(NOTHING_KEPT), Config(), "shop")
    mine, (read, write) = one.client_id, os.pipe()
    child = os.fork()
    if not child:
        os.write(write, one.client_id.encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    assert one.client_id == mine != theirs
    assert len(bytes.fromhex(theirs)) == 12
