"""A WSGI application that answers with the number of its request; some are not found, some fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """`/r/<number>`."""
    number = int(environ["PATH_INFO"].rpartition("/")[2])
    if number % 97 == 0:
        raise ValueError(f"request {number} fails")
    body = b"%d" % number
    status = "404 Not Found" if number % 50 == 0 else "200 OK"
    start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
