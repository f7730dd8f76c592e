"""X-Ray's sampling calls as its daemon offers them by TCP: a stand-in that refuses what the service refuses.

What is checked stands in botocore's model of the service (2016-04-12): what is required, of what length, and
how many documents a call may hold. It speaks HTTP/1.1 and 1.0, so botocore can be pointed at it, too.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

DEFAULT_RULE: dict[str, Any] = {
    "RuleName": "Default", "RuleARN": "arn:aws:xray:eu-west-1:1:sampling-rule/Default", "ResourceARN": "*",
    "Priority": 10000, "FixedRate": 0.05, "ReservoirSize": 1, "ServiceName": "*", "ServiceType": "*",
    "Host": "*", "HTTPMethod": "*", "URLPath": "*", "Version": 1, "Attributes": {},
}  # fmt: skip

COUNTS = ("RequestCount", "SampledCount", "BorrowCount")
BOOST_COUNTS = ("AnomalyCount", "TotalCount", "SampledAnomalyCount")
STALE = 3600  # seconds a Timestamp may be off


class RefusalError(Exception):
    """InvalidRequestException, and why."""


class SamplingService:
    """What the service knows, was asked, and is going to answer."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.rules: list[dict[str, Any]] = [DEFAULT_RULE]
        self.page = 100  # rules in one
        self.targets: dict[str, dict[str, Any]] = {}  # by rule, beyond its FixedRate
        self.unprocessed: dict[str, tuple[str, str]] = {}  # rule -> code and message
        self.modified = 0.0
        self.failures: list[tuple[int, bytes]] = []  # to be answered before anything else
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.port = 0

    def called(self, path: str) -> list[dict[str, Any]]:
        """What was sent to a path, in order."""
        return [content for called, content in list(self.calls) if called == path]

    def statistics(self) -> list[dict[str, Any]]:
        """Every document of statistics that was sent, in order."""
        return [
            one for call in self.called("/SamplingTargets") for one in call["SamplingStatisticsDocuments"]
        ]

    # ------------------------------------------------------------ the two calls

    def answer(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """The answer, or a `RefusalError`."""
        if path == "/GetSamplingRules":
            return self.get_sampling_rules(content)
        if path == "/SamplingTargets":
            return self.get_sampling_targets(content)
        raise RefusalError(f"no such operation: {path}")

    def get_sampling_rules(self, content: dict[str, Any]) -> dict[str, Any]:
        """One page of the rules."""
        check(set(content) <= {"NextToken"}, f"unknown parameters: {sorted(content)}")
        start = int(content.get("NextToken") or 0)
        page = self.rules[start : start + self.page]
        records = [{"SamplingRule": rule, "CreatedAt": 0.0, "ModifiedAt": 1.7e9} for rule in page]
        more = start + self.page < len(self.rules)
        return {"SamplingRuleRecords": records, "NextToken": str(start + self.page) if more else None}

    def get_sampling_targets(self, content: dict[str, Any]) -> dict[str, Any]:
        """Targets for the rules that were reported."""
        known = {"SamplingStatisticsDocuments", "SamplingBoostStatisticsDocuments"}
        check(set(content) <= known, f"unknown parameters: {sorted(content)}")
        documents = content.get("SamplingStatisticsDocuments")
        boosts = content.get("SamplingBoostStatisticsDocuments", [])
        check(isinstance(documents, list), "SamplingStatisticsDocuments is required")
        for documents_of_a_kind in (documents, boosts):
            check(len(documents_of_a_kind) <= 25, "at most 25 documents")
        for document in documents:
            self.check_statistics(document)
        for document in boosts:
            self.check_boost_statistics(document)
        rules = {rule["RuleName"]: rule for rule in self.rules}
        names = [document["RuleName"] for document in documents]
        refused = {
            **self.unprocessed,
            **{name: ("404", "no such rule") for name in names if name not in rules},
        }
        return {
            "SamplingTargetDocuments": [
                {"RuleName": name, "FixedRate": rules[name]["FixedRate"], **self.targets.get(name, {})}
                for name in names
                if name not in refused
            ],
            "LastRuleModification": self.modified,
            "UnprocessedStatistics": [
                {"RuleName": name, "ErrorCode": refused[name][0], "Message": refused[name][1]}
                for name in names
                if name in refused
            ],
            "UnprocessedBoostStatistics": [],
        }

    def check_statistics(self, document: dict[str, Any]) -> None:
        """SamplingStatisticsDocument."""
        check(
            set(document) <= {"RuleName", "ClientID", "Timestamp", *COUNTS},
            f"unknown fields: {sorted(document)}",
        )
        self.check_common(document, ("ClientID", "RequestCount", "SampledCount"), COUNTS)
        check(bool(re.fullmatch("[0-9a-f]{24}", document["ClientID"])), "ClientID")
        taken = document["SampledCount"] + document.get("BorrowCount", 0)
        check(taken <= document["RequestCount"], "more sampled than requested")

    def check_boost_statistics(self, document: dict[str, Any]) -> None:
        """SamplingBoostStatisticsDocument."""
        check(
            set(document) == {"RuleName", "ServiceName", "Timestamp", *BOOST_COUNTS},
            "fields of a boost document",
        )
        self.check_common(document, ("ServiceName", *BOOST_COUNTS), BOOST_COUNTS)
        check(len(document["ServiceName"]) <= 64, "ServiceName")
        check(document["SampledAnomalyCount"] <= document["AnomalyCount"] <= document["TotalCount"], "counts")

    def check_common(
        self, document: dict[str, Any], required: tuple[str, ...], counted: tuple[str, ...]
    ) -> None:
        """What both have."""
        missing = [name for name in ("RuleName", "Timestamp", *required) if name not in document]
        check(not missing, f"missing: {missing}")
        check(1 <= len(document["RuleName"]) <= 32, "RuleName")
        for name in counted:
            check(type(document.get(name, 0)) is int and document.get(name, 0) >= 0, name)
        check(abs(float(document["Timestamp"]) - time.time()) < STALE, "Timestamp")


def check(good: bool, why: str) -> None:
    """Refuse what is not."""
    if not good:
        raise RefusalError(why)


@contextmanager
def serving(service: SamplingService) -> Iterator[SamplingService]:
    """The service, listening on a port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            service.calls.append((self.path, content))
            if service.failures:
                status, body = service.failures.pop(0)
                self.reply(status, body)
                return
            try:
                self.reply(200, json.dumps(service.answer(self.path, content)).encode())
            except RefusalError as refusal:
                self.reply(400, json.dumps({"message": str(refusal)}).encode(), "InvalidRequestException")

        def reply(self, status: int, body: bytes, error: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if error:
                self.send_header("x-amzn-ErrorType", f"{error}:http://internal.amazon.com/")
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(int(service.clock()))

        def log_message(self, *message: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
