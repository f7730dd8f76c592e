"""What a span of the X-Ray SDK or of OpenCensus costs, within our requests and by itself; see README.md.

python benchmarks/bridges.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from aws_xray_sdk.core.async_recorder import AsyncAWSXRayRecorder
from hot_path import journal_in
from inside import requests
from measure import Block, Variant, added, rounds, where
from opencensus.trace import execution_context, samplers
from opencensus.trace.base_exporter import Exporter
from opencensus.trace.tracer import Tracer

from server_tracing.capture.recorder import Recorder
from server_tracing.config import Config
from server_tracing.inside import here, opencensus, xray
from server_tracing.journal import Journal
from server_tracing.sampling import sampler_for
from server_tracing.worker import host_for

PACKAGES = ("msgspec", "aws-xray-sdk", "opencensus")
TITLES = {
    "xray": "X-Ray SDK: a subsegment in our request",
    "xray call": "the same of a call, with http and one annotation",
    "xray own": "X-Ray SDK by itself: a subsegment, serialised",
    "xray own call": "the same of a call",
    "opencensus": "OpenCensus: a span in our request",
    "opencensus call": "the same of a call, with four attributes",
    "opencensus own": "OpenCensus by itself: a span, to an exporter",
    "opencensus own call": "the same of a call",
}


class Own:
    """An attribute of a recorder as it was before the SDK was followed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, recorder: Any, kind: type) -> Any:
        return vars(recorder)[self.name]

    def __set__(self, recorder: Any, value: object) -> None:
        vars(recorder)[self.name] = value


class Serialised:
    """An emitter that does all but send."""

    def send_entity(self, entity: Any) -> None:
        """As the SDK's own, until the datagram."""
        entity.serialize()


class Nowhere(Exporter):
    """An exporter that forgets."""

    def export(self, span_datas: object) -> None:
        """As OpenCensus calls it."""


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="what spans of other libraries cost a request")
    parser.add_argument("--quick", action="store_true", help="8 seconds instead of 40, and a wider spread")
    quick = parser.parse_args().quick
    print(where(PACKAGES))
    with tempfile.TemporaryDirectory() as folder:
        variants = contestants(journal_in(folder))
        taken = rounds(variants, seconds=8 if quick else 40)
    print("CPU added to a request's thread, each against the same without the span")
    for variant in variants:
        if variant.against:
            print(f"{TITLES[variant.name]:50}{added(taken, variant)}")
    return 0


def contestants(journal: Journal) -> list[Variant]:
    """Spans in our requests, and in the libraries' own."""

    def drain() -> None:
        journal.ring.release(journal.head)

    followed, config = Recorder(journal), Config()
    host = host_for(followed, config, sampler_for(config), ())
    here.attach(host)
    xray.follow(host)
    opencensus.follow(host)
    recorder, own = xray.xray_recorder, own_recorder()
    tracer = execution_context.get_opencensus_tracer
    alone = Tracer(exporter=Nowhere(), sampler=samplers.AlwaysOnSampler())
    execution_context.clear()  # it has made itself the current one
    in_ours: dict[str, Callable[[], object]] = {
        "xray": lambda: subsegment(recorder),
        "xray call": lambda: call(recorder),
        "opencensus": lambda: span(tracer()),
        "opencensus call": lambda: span_of_call(tracer()),
    }
    return [
        Variant("in use", requests(followed), between=drain),
        *(Variant(name, requests(followed, ask), "in use", between=drain) for name, ask in in_ours.items()),
        Variant("segment", segments(own)),
        Variant("xray own", segments(own, subsegment), "segment"),
        Variant("xray own call", segments(own, call), "segment"),
        Variant("nothing", repeated(lambda: None)),
        Variant("opencensus own", repeated(lambda: span(alone)), "nothing"),
        Variant("opencensus own call", repeated(lambda: span_of_call(alone)), "nothing"),
    ]


def own_recorder() -> Any:
    """The SDK's recorder, as it is where nobody follows it."""
    methods = {**xray._original, "_context": Own("_context"), "_sampler": Own("_sampler")}
    made: Any = type("OwnRecorder", (AsyncAWSXRayRecorder,), methods)()
    made.emitter = Serialised()
    return made


def subsegment(recorder: Any) -> None:
    with recorder.in_subsegment("load cart"):
        pass


def call(recorder: Any) -> None:
    with recorder.in_subsegment("stock.example.com", namespace="remote") as made:
        made.put_http_meta("method", "GET")
        made.put_http_meta("url", "http://stock.example.com/items/3")
        made.put_annotation("item", 3)
        made.put_http_meta("status", 200)


def span(tracer: Any) -> None:
    with tracer.span("load cart"):
        pass


def span_of_call(tracer: Any) -> None:
    with tracer.span("/items/3") as made:
        made.span_kind = 2
        made.add_attribute("http.method", "GET")
        made.add_attribute("http.host", "stock.example.com")
        made.add_attribute("http.url", "http://stock.example.com/items/3")
        made.add_attribute("http.status_code", 200)


def segments(recorder: Any, ask: Callable[[Any], object] = lambda recorder: None) -> Block:
    """Segments that the SDK begins, asks and ends."""

    def block(count: int) -> None:
        for _ in range(count):
            recorder.begin_segment("shop", sampling=1)
            ask(recorder)
            recorder.end_segment()

    return block


def repeated(what: Callable[[], object]) -> Block:
    """The same, so many times."""

    def block(count: int) -> None:
        for _ in range(count):
            what()

    return block


if __name__ == "__main__":
    sys.exit(main())
