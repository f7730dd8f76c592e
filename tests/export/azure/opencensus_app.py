"""What an application on OpenCensus with AzureExporter sends; run in a process of its own, for its exporter
starts threads, and statsbeat unless it is told not to.

    python opencensus_app.py <connection string>

The spans have the attributes that OpenCensus' Flask middleware and its integrations for requests and
postgresql give them.
"""

from __future__ import annotations

import sys
import warnings

warnings.simplefilter("ignore")  # utcnow, getdefaultlocale: OpenCensus is archived

from opencensus.ext.azure.trace_exporter import AzureExporter  # noqa: E402
from opencensus.trace import span as span_module  # noqa: E402
from opencensus.trace.samplers import AlwaysOnSampler  # noqa: E402
from opencensus.trace.span_context import SpanContext  # noqa: E402
from opencensus.trace.tracer import Tracer  # noqa: E402

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def serve(
    exporter: AzureExporter, status: int, route: str | None, error: BaseException | None = None
) -> None:
    """One request, as the middleware records it."""
    tracer = Tracer(SpanContext(trace_id=TRACE, span_id=PARENT), AlwaysOnSampler(), exporter)
    url = "http://shop.example/cart/7?page=2"
    span = tracer.start_span()
    span.span_kind = span_module.SpanKind.SERVER
    span.name = f"[GET]{url}"
    for key, value in {
        "http.host": "shop.example",
        "http.method": "GET",
        "http.path": "/cart/7",
        "http.url": url,
        "http.route": route,
        "http.status_code": status,
        "customer": 17,
    }.items():
        if value is not None:
            tracer.add_attribute_to_current_span(key, value)
    if error is not None:
        tracer.add_attribute_to_current_span("error.name", type(error).__name__)
        tracer.add_attribute_to_current_span("error.message", str(error))
        tracer.add_attribute_to_current_span("stacktrace", '  File "/srv/cart.py", line 40, in add\n')
    if status == 200:
        call(tracer)
    tracer.end_span()


def call(tracer: Tracer) -> None:
    """What the request waited for."""
    with tracer.span("load cart") as inner:
        inner.add_attribute("items", 3)
    with tracer.span("[GET]http://stock.example/v1/items/7") as client:
        client.span_kind = span_module.SpanKind.CLIENT
        client.add_attribute("component", "HTTP")
        client.add_attribute("http.host", "stock.example")
        client.add_attribute("http.method", "GET")
        client.add_attribute("http.path", "/v1/items/7")
        client.add_attribute("http.url", "http://stock.example/v1/items/7")
        client.add_attribute("http.status_code", 200)
    with tracer.span("postgresql.query") as query:
        query.span_kind = span_module.SpanKind.CLIENT
        query.add_attribute("postgresql.query", "SELECT 1")
        query.add_attribute("postgresql.cursor.method.name", "execute")


def main() -> None:
    """Three requests: one fine, one to nowhere, one that failed."""
    exporter = AzureExporter(connection_string=sys.argv[1], enable_local_storage=False)
    serve(exporter, 200, "/cart/<int:id>")
    serve(exporter, 404, None)
    serve(exporter, 500, "/cart/<int:id>", KeyError("teapot"))
    exporter._queue.flush(10)
    exporter._stop(5)


if __name__ == "__main__":
    main()
