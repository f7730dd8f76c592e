"""Plain requests as different from one another as real ones, for what measures exporters."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

from server_tracing.record import Request

BATCH = 500
ROUTES = ("/products/<int:id>", "/cart", "/checkout", "/search", "/users/<uuid:user>/orders")
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148",
    "curl/8.9.1",
)


def believable(count: int) -> list[Request]:
    """Plain requests as different from one another as real ones."""
    draw, start = random.Random(7), datetime.now(timezone.utc)
    return [
        Request(
            trace_id=f"{draw.getrandbits(128):032x}",
            span_id=f"{draw.getrandbits(64):016x}",
            service="shop",
            method=draw.choice(("GET", "GET", "GET", "POST")),
            scheme="https",
            http_version="1.1",
            host="shop.example.com",
            path=f"/products/{draw.randrange(100_000)}",
            query=f"page={draw.randrange(20)}" if number % 3 else None,
            route=draw.choice(ROUTES),
            status=draw.choice((200, 200, 200, 304, 404)),
            outcome="ok",
            start=start + timedelta(microseconds=draw.randrange(10**6)),
            duration_ms=int(draw.expovariate(1 / 20e6)) / 1e6,
            ttfb_ms=int(draw.expovariate(1 / 16e6)) / 1e6,
            request_bytes=0,
            response_bytes=draw.randrange(100_000),
            client_ip=f"203.0.{draw.randrange(256)}.{draw.randrange(256)}",
            user_agent=draw.choice(AGENTS),
            server="gunicorn 27.0.1",
            worker_pid=4711,
            worker_class="sync",
            kept_because="rate",
        )
        for number in range(count)
    ]


def batches(count: int) -> list[int]:
    """So many records in batches of about the same size, BATCH at most."""
    number = -(-count // BATCH)
    return [count * (place + 1) // number - count * place // number for place in range(number)]
