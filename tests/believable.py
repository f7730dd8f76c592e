"""Records as a small shop would leave them; what a test does not name is ordinary."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import Any

from server_tracing.record import Event, ExceptionInfo, FinishedSpan, Frame, Request, WorkerVitals

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
ROUTES = ("/products/<int:id>", "/cart", "/checkout", "/search")
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Firefox/130.0"


def after(seconds: float) -> datetime:
    """A moment of the test's day."""
    return NOON + timedelta(seconds=seconds)


def trace_id(start: datetime, number: int) -> str:
    return f"{int(start.timestamp()):08x}{random.Random(number).getrandbits(96):024x}"


def request(number: int = 1, **fields: Any) -> Request:
    """An ordinary request, the `number`-th; later numbers start a second later."""
    start = fields.pop("start", after(number))
    values: dict[str, Any] = {
        "trace_id": trace_id(start, number),
        "span_id": f"{number:016x}",
        "service": "shop",
        "method": "GET",
        "scheme": "http",
        "http_version": "1.1",
        "host": "shop.example",
        "path": f"/products/{number}",
        "route": "/products/<int:id>",
        "status": 200,
        "outcome": "ok",
        "duration_ms": 12.5,
        "ttfb_ms": 11.9,
        "request_bytes": 0,
        "response_bytes": 5120,
        "client_ip": "203.0.113.7",
        "user_agent": BROWSER,
        "server": "gunicorn 27.0.1",
        "worker_pid": 4711,
        "worker_class": "sync",
    }
    return Request(start=start, **{**values, **fields})


def requests(count: int, first: int = 1, **fields: Any) -> list[Request]:
    return [request(first + step, **fields) for step in range(count)]


def exception() -> ExceptionInfo:
    """One that was raised from another."""
    return ExceptionInfo(
        type="OutOfStock",
        message="no teapots left",
        stack='  File "/srv/shop/cart.py", line 40, in add\n    shelf.take(item)',
        frames=[Frame("/srv/shop/cart.py", 40, "add"), Frame("/srv/shop/shelf.py", 12, "take")],
        cause=ExceptionInfo(
            type="KeyError", message="'teapot'", frames=[Frame("/srv/shop/shelf.py", 9, "find")]
        ),
    )


def failed(number: int = 1, **fields: Any) -> Request:
    values: dict[str, Any] = {"status": 500, "outcome": "error", "exception": exception()}
    return request(number, **{"method": "POST", "path": "/cart", "route": "/cart", **values, **fields})


def killed(number: int = 1, **fields: Any) -> Request:
    values: dict[str, Any] = {
        "status": None,
        "outcome": "killed",
        "reason": "timeout",
        "duration_ms": 30_000.0,
    }
    return request(number, **{"path": "/report", "route": "/report", **values, **fields})


def spans(start: datetime) -> list[FinishedSpan]:
    def span(name: str, number: int, parent: int, at: float, took: float | None, **more: Any) -> FinishedSpan:
        return FinishedSpan(
            span_id=f"{number:016x}",
            parent_id=f"{parent:016x}",
            name=name,
            kind="internal",
            start=start + timedelta(milliseconds=at),
            duration_ms=took,
            **more,
        )

    return [
        span("load cart", 101, 1, 1, 4),
        span("SELECT items", 102, 101, 2, 2.5, annotations={"rows": 3}),
        span("charge card", 103, 1, 6, None),
    ]


def vitals(seconds: float = 0, **fields: Any) -> WorkerVitals:
    values: dict[str, Any] = {
        "time": after(seconds),
        "service": "shop",
        "worker_pid": 4711,
        "worker_class": "sync",
        "host": "web-1",
        "rss_bytes": 62 << 20,
        "cpu_percent": 14.5,
        "threads": 4,
        "open_files": 21,
        "in_flight": 1,
        "served": 1200,
        "accept_queue": 0,
    }
    return WorkerVitals(**{**values, **fields})


def event(seconds: float = 0, what: str = "boot", **fields: Any) -> Event:
    return Event(**{"time": after(seconds), "service": "shop", "worker_pid": 4711, "what": what, **fields})
