"""The demonstration's shop: a plain WSGI application that knows nothing of being recorded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Answer = tuple[str, str]
SLOW_QUERY = 1.2  # seconds
SLOW_BANK = 0.6
BASKETS: dict[str, list[str]] = {}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the page of the first part of the path."""
    name = environ["PATH_INFO"].split("/")[1]
    status, text = PAGES.get(name, missing)()
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def home() -> Answer:
    """The front page."""
    return "200 OK", "Welcome to the shop.\n"


def product() -> Answer:
    """One of the things sold here."""
    return "200 OK", "A kettle.\n"


def basket() -> Answer:
    """Raises: nobody has a basket yet."""
    return "200 OK", "\n".join(BASKETS["customer 17"])


def report() -> Answer:
    """Asks the database for too much."""
    time.sleep(SLOW_QUERY)
    return "200 OK", "Sold: 3 kettles.\n"


def checkout() -> Answer:
    """Waits for a bank that never answers; after a while tells, through the pipe at the till, who waits."""
    time.sleep(SLOW_BANK)
    Path(os.environ["SHOP_TILL"]).write_text(f"{os.getpid()}\n")
    while True:
        time.sleep(60)


def missing() -> Answer:
    """Nothing is sold under this name."""
    return "404 Not Found", "No such page.\n"


PAGES = {"": home, "products": product, "basket": basket, "reports": report, "checkout": checkout}
