"""What the application's own view costs the thread of a request; see README.md beside this.

python benchmarks/inside.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable

from hot_path import journal_in
from measure import Block, Variant, added, rounds, where
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import server_tracing
from server_tracing.capture.recorder import Recorder
from server_tracing.config import Config
from server_tracing.inside import here
from server_tracing.journal import Journal
from server_tracing.sampling import sampler_for
from server_tracing.worker import host_for

HEADERS = [("HOST", "shop"), ("X-AMZN-TRACE-ID", "Root=1-67891233-abcdef012345678912345678")]
PACKAGES = ("msgspec", "opentelemetry-sdk")
TITLES = {
    "in use": "a request, once the room is open",
    "current": "current(), for the first time in it",
    "annotate": "one annotation",
    "trace id": "its trace id",
    "span": "one span",
    "ten spans": "ten spans",
    "headers": "headers for one call",
    "outside": "a span where there is no request",
    "otel span": "OpenTelemetry: one span",
    "otel ten": "OpenTelemetry: ten spans",
}


class Nowhere(SpanExporter):
    """Sends nothing."""

    def export(self, spans: object) -> SpanExportResult:
        """Forget them."""
        return SpanExportResult.SUCCESS


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="what the application's own view costs a request")
    parser.add_argument("--quick", action="store_true", help="8 seconds instead of 40, and a wider spread")
    quick = parser.parse_args().quick
    print(where(PACKAGES))
    with tempfile.TemporaryDirectory() as folder:
        variants = contestants(journal_in(folder))
        taken = rounds(variants, seconds=8 if quick else 40)
    print("CPU added to a request's thread, each against the line it builds on")
    for variant in variants:
        if variant.against:
            print(f"{TITLES[variant.name]:42}{added(taken, variant)}")
    return 0


def contestants(journal: Journal) -> list[Variant]:
    """What a request can ask for, each in a request that asks for nothing else."""

    def drain() -> None:
        journal.ring.release(journal.head)

    plain, followed = Recorder(journal), Recorder(journal)
    config = Config()
    here.attach(host_for(followed, config, sampler_for(config), ()))
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    tracer = provider.get_tracer("shop")

    def spans(count: int) -> None:
        for _ in range(count):
            with server_tracing.span("load cart"):
                pass

    def otel_spans(count: int) -> None:
        for _ in range(count):
            with tracer.start_as_current_span("load cart"):
                pass

    asked: dict[str, Callable[[], object]] = {
        "current": server_tracing.current,
        "annotate": lambda: server_tracing.current().annotate("tries", 1),
        "trace id": lambda: server_tracing.current().trace_id,
        "span": lambda: spans(1),
        "ten spans": lambda: spans(10),
        "headers": server_tracing.headers,
    }
    return [
        Variant("nobody asked", requests(plain), between=drain),
        Variant("in use", requests(followed), "nobody asked", between=drain),
        *(Variant(name, requests(followed, ask), "in use", between=drain) for name, ask in asked.items()),
        Variant("nothing", lambda count: repeat(count, lambda: None)),
        Variant("outside", lambda count: repeat(count, lambda: spans(1)), "nothing"),
        Variant("otel span", lambda count: repeat(count, lambda: otel_spans(1)), "nothing"),
        Variant("otel ten", lambda count: repeat(count, lambda: otel_spans(10)), "nothing"),
    ]


def requests(recorder: Recorder, ask: Callable[[], object] = lambda: None) -> Block:
    """Requests that begin, ask, and end."""
    begin, end = recorder.begin_text, recorder.end

    def block(count: int) -> None:
        for _ in range(count):
            slot = begin("GET", "/cart", "1.1", "http", "192.0.2.7", 5, HEADERS)
            ask()
            end(slot, 0, 200, 5, 0)

    return block


def repeat(count: int, what: Callable[[], object]) -> None:
    """The same, so many times."""
    for _ in range(count):
        what()


if __name__ == "__main__":
    sys.exit(main())
