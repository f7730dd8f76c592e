"""What delivering a plain request to Application Insights costs the exporter's thread; see README.md.

    python benchmarks/azure_cost.py [--quick]

Exit code 0 if the budget is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from bystander import serving
from measure import Variant, rounds, where, within
from plain_requests import BATCH, batches, believable

from server_tracing.config import Azure, Config
from server_tracing.export.azure import AzureExporter, payload
from server_tracing.export.azure.envelopes import Envelopes
from server_tracing.export.exporter import Setup
from server_tracing.record import Request

BUDGET = 8.0  # microseconds per request, encode, compress and send
KEY = "00000000-0000-0000-0000-000000000001"
PACKAGES = ("msgspec", "opencensus-ext-azure", "requests")
SERVICE = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"itemsReceived":1,"itemsAccepted":1,"errors":[]}'
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
    def log_message(self, *arguments): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def main() -> int:
    """Run ours and AzureExporter in turn, and judge."""
    parser = argparse.ArgumentParser(description="what delivering to Application Insights costs")
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    options = parser.parse_args()
    os.environ["APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL"] = "true"
    print(where(PACKAGES))
    with serving(SERVICE) as ours, serving(SERVICE) as theirs:
        variants = [*our_variants(f"http://{ours}"), *their_variants(f"http://{theirs}")]
        taken = rounds(variants, 6 if options.quick else 40)
    return 0 if within(BUDGET, taken, "ours, in all") else 1


def our_variants(endpoint: str) -> list[Variant]:
    """The exporter as it is run, and the first half of its way."""
    settings = Azure(connection_string=f"InstrumentationKey={KEY};IngestionEndpoint={endpoint}", proxies={})
    config = Config(service="shop", exporters=("azure",), azure=settings)
    exporter = AzureExporter(Setup(config, {}, "shop", ""))
    envelopes, records = Envelopes(config, KEY), believable(BATCH)

    def export(count: int) -> None:
        for size in batches(count):
            exporter.export(records[:size])

    def encode(count: int) -> None:
        for size in batches(count):
            for record in records[:size]:
                for envelope in envelopes.of(record):
                    payload.encode(envelope)

    return [Variant("ours, in all", export), Variant("ours, envelope as JSON", encode)]


def their_variants(endpoint: str) -> list[Variant]:
    """AzureExporter's envelope, and its whole way: JSON and a post of a hundred at a time."""
    from opencensus.ext.azure.trace_exporter import AzureExporter as Theirs

    string = f"InstrumentationKey={KEY};IngestionEndpoint={endpoint}"
    exporter = Theirs(connection_string=string, enable_local_storage=False)
    spans = list(map(span_data, believable(100)))

    def envelope(count: int) -> None:
        for number in range(count):
            list(exporter.span_data_to_envelope(spans[number % 100]))

    def emit(count: int) -> None:
        for first in range(0, count, 100):
            exporter.emit(spans[: min(100, count - first)])

    def encode(count: int) -> None:
        for number in range(count):
            json.dumps(list(exporter.span_data_to_envelope(spans[number % 100])), default=str)

    return [
        Variant("AzureExporter, in all", emit),
        Variant("AzureExporter, envelope as JSON", encode),
        Variant("AzureExporter, envelope alone", envelope),
    ]


def span_data(request: Request) -> Any:
    """The same request as OpenCensus' Flask middleware leaves it."""
    from opencensus.trace import span as span_module
    from opencensus.trace.samplers import AlwaysOnSampler
    from opencensus.trace.span_context import SpanContext
    from opencensus.trace.tracer import Tracer

    kept: list[Any] = []

    class Keeping:
        def export(self, data: list[Any]) -> None:
            kept.extend(data)

    tracer = Tracer(SpanContext(trace_id=request.trace_id), AlwaysOnSampler(), Keeping())
    span = tracer.start_span()
    span.span_kind = span_module.SpanKind.SERVER
    attributes = {
        "http.host": request.host,
        "http.method": request.method,
        "http.path": request.path,
        "http.url": f"https://{request.host}{request.path}?{request.query or ''}",
        "http.route": request.route,
        "http.status_code": request.status,
    }
    for key, value in attributes.items():
        tracer.add_attribute_to_current_span(key, value)
    tracer.end_span()
    return kept[0]


if __name__ == "__main__":
    sys.exit(main())
