"""Calls another service by every client there is, and knows of no tracing: `/<client>/<port>`."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError

import requests


def by_requests(url: str) -> None:
    requests.get(url, timeout=10)


def by_urllib(url: str) -> None:
    with suppress(HTTPError), urllib.request.urlopen(url, timeout=10) as response:
        response.read()


CLIENTS = {"requests": by_requests, "urllib": by_urllib}


def wsgi(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Calls, and says so."""
    _, client, port = environ["PATH_INFO"].split("/")
    CLIENTS[client](f"http://127.0.0.1:{port}/stock?token=secret")
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"called"]
