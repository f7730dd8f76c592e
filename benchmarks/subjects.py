"""What is measured: the same small response, served plain, recorded by us, and traced by OpenTelemetry.

Real request and response objects of gunicorn without sockets, and plain calls of WSGI and ASGI applications.
Each function returns a block: serve so many requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import Response
from gunicorn.workers.sync import SyncWorker
from measure import Block
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as OtelAsgi
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as OtelWsgi
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from server_tracing.capture.asgi import wrap as wrap_asgi
from server_tracing.capture.gunicorn_hooks import attach_hooks
from server_tracing.capture.recorder import Recorder
from server_tracing.capture.wsgi import wrap as wrap_wsgi

HEADERS = [  # what a browser behind a load balancer sends
    ("Host", "shop.example.com"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Amzn-Trace-Id", "Root=1-67891233-abcdef012345678912345678"),
    ("Cache-Control", "no-cache"),
    ("Connection", "keep-alive"),
]
BODY = b"hello"
RESPONSE_HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]
PEER = ("127.0.0.1", 50000)
GOES_OUT = {name: vars(Response)[name] for name in ("send_headers", "sendfile")}  # before they are watched


class Nowhere:
    """A socket that takes everything."""

    def sendall(self, data: bytes) -> None:
        """Forget it."""


# ---------------------------------------------------------------- gunicorn's hooks


class Hooks(NamedTuple):
    """What gunicorn does for a request: its two hooks alone, and with a whole response between them."""

    alone: Block
    around_a_response: Block
    ready: Callable[[], None]  # makes gunicorn's response class that of this one


def gunicorn_hooks(recorder: Recorder | None) -> Hooks:
    """The hooks of a worker: recording, or doing nothing."""
    settings = Config()
    settings.set("pre_request", lambda worker, req: None)
    settings.set("post_request", lambda worker, req, environ, resp: None)
    worker = SyncWorker.__new__(SyncWorker)
    worker.cfg, worker.wsgi = settings, wsgi_app
    goes_out = GOES_OUT
    if recorder is not None:
        attach_hooks(worker, recorder)
        goes_out = {name: vars(Response)[name] for name in GOES_OUT}
        give_responses(GOES_OUT)
    requests = list(parsed(settings, 64))
    pre, post = settings.pre_request, settings.post_request
    environ, sink = {"CONTENT_LENGTH": ""}, Nowhere()

    def respond(req: Any) -> Response:
        resp = Response(req, sink, settings)
        resp.start_response("200 OK", RESPONSE_HEADERS)
        resp.write(BODY)
        resp.close()
        return resp

    answered = [(req, respond(req)) for req in requests]

    def alone(count: int) -> None:
        for number in range(count):
            req, resp = answered[number & 63]
            pre(worker, req)
            post(worker, req, environ, resp)

    def around_a_response(count: int) -> None:
        for number in range(count):
            req = requests[number & 63]
            pre(worker, req)
            post(worker, req, environ, respond(req))

    return Hooks(alone, around_a_response, lambda: give_responses(goes_out))


def give_responses(methods: dict[str, Any]) -> None:
    """Let gunicorn's response class have these methods."""
    for name, method in methods.items():
        setattr(Response, name, method)


def parsed(settings: Config, count: int) -> Iterable[Any]:
    """Requests as gunicorn reads them."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in HEADERS)
    data = f"GET /products/17?color=red HTTP/1.1\r\n{lines}\r\n".encode()
    for _ in range(count):
        yield next(RequestParser(settings, iter([data]), PEER))


# ---------------------------------------------------------------- WSGI


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Says hello."""
    start_response("200 OK", RESPONSE_HEADERS)
    return [BODY]


def wsgi(app: Any) -> Block:
    """Calls of a WSGI application as a server makes them."""
    original = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/products/17",
        "QUERY_STRING": "color=red",
        "RAW_URI": "/products/17?color=red",
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": PEER[0],
        "REMOTE_PORT": str(PEER[1]),
        "wsgi.url_scheme": "http",
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in HEADERS},
    }

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        return lambda data: None

    def block(count: int) -> None:
        for _ in range(count):
            body = app(original.copy(), start_response)
            for _chunk in body:
                pass
            if hasattr(body, "close"):
                body.close()

    return block


# ---------------------------------------------------------------- ASGI


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Says hello."""
    headers = [(name.lower().encode(), value.encode()) for name, value in RESPONSE_HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def asgi(app: Any) -> Block:
    """Calls of an ASGI application that never has to wait, so that no event loop is in the way."""
    original = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/products/17",
        "raw_path": b"/products/17",
        "query_string": b"color=red",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in HEADERS],
        "client": PEER,
        "server": ("127.0.0.1", 8000),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pass

    def block(count: int) -> None:
        for _ in range(count):
            try:
                app({**original}, receive, send).send(None)
            except StopIteration:
                continue
            raise RuntimeError("the application waited for something")

    return block


# ---------------------------------------------------------------- the others


def ours(recorder: Recorder) -> tuple[Block, Block]:
    """The WSGI and the ASGI application, recorded."""
    return wsgi(wrap_wsgi(wsgi_app, recorder)), asgi(wrap_asgi(asgi_app, recorder))


class NoExporter(SpanExporter):
    """Takes every span and sends none."""

    def export(self, spans: Iterable[ReadableSpan]) -> SpanExportResult:
        """All delivered."""
        return SpanExportResult.SUCCESS


def opentelemetry(exporter: SpanExporter | None = None) -> tuple[Block, Block, Callable[[], object]]:
    """The same two in OpenTelemetry's middlewares, set up as their documentation does; and what delivers all.

    Its spans for every ASGI send and receive are off: with them it costs half as much again.
    """
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter or NoExporter()))
    in_asgi = OtelAsgi(asgi_app, tracer_provider=provider, exclude_spans=["send", "receive"])
    return wsgi(OtelWsgi(wsgi_app, tracer_provider=provider)), asgi(in_asgi), provider.force_flush
