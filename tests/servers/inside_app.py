"""Applications that ask for their own request, from every place that belongs to it.

`/visit/<name>` leaves its name wherever something can be left, while other visits do the same, and answers
with what it saw. TEST_LAZY makes the first use of the package happen in the middle of the first request.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from typing import Any

Environ = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PLAIN = [("Content-Type", "application/json")]
LAZY = "TEST_LAZY" in os.environ


def tracing() -> Any:
    """The package, not yet imported by this application if it is to be lazy."""
    return import_module("server_tracing")


if not LAZY:
    server_tracing = tracing()


if "TEST_OTEL" in os.environ:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    if not LAZY:
        trace.set_tracer_provider(TracerProvider())


def visit_with_otel(name: str) -> bytes:
    """A visit that knows nothing of this package."""
    if LAZY:  # logs a warning from the second request on, and changes nothing
        trace.set_tracer_provider(TracerProvider())
    tracer = trace.get_tracer("shop")
    with tracer.start_as_current_span(f"outer {name}") as span:
        time.sleep(dawdle())
        with tracer.start_as_current_span(f"inner {name}"):
            time.sleep(dawdle())
        seen = f"{span.get_span_context().trace_id:032x}"
    return json.dumps({"name": name, "seen": [seen]}).encode()


def dawdle() -> float:
    """A while in which other requests run."""
    return random.random() / 100


class Visit:
    """What one request sees of itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.request = tracing().current()
        self.seen = {self.request.trace_id}
        self.request.annotate("name", name)
        self.request.user = name

    def look(self) -> None:
        self.seen.add(tracing().current().trace_id)
        self.seen.add(tracing().headers()["b3"][:32])

    def answer(self) -> bytes:
        return json.dumps({"name": self.name, "seen": sorted(self.seen)}).encode()


# ---------------------------------------------------------------- WSGI


def in_a_thread(visit: Visit) -> None:
    with tracing().span(f"thread {visit.name}"):
        time.sleep(dawdle())
        visit.look()


def visit_in_threads(visit: Visit) -> None:
    span = tracing().span
    with span(f"outer {visit.name}") as outer:
        outer.annotate("of", visit.name)
        time.sleep(dawdle())
        visit.look()
        thread = threading.Thread(target=tracing().in_context(in_a_thread), args=(visit,))
        thread.start()
        if "gevent" in sys.modules:
            sys.modules["gevent"].spawn(visit.look).join()
        with span(f"inner {visit.name}", "client"):
            time.sleep(dawdle())
            visit.look()
        thread.join()


def wsgi(environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
    """Answers a visit, or dies in the middle of a span."""
    page, _, name = environ["PATH_INFO"][1:].partition("/")
    if page == "die":
        die(name)
    if page == "otel":
        body = visit_with_otel(name)
        start("200 OK", [*PLAIN, ("Content-Length", str(len(body)))])
        yield body
        return
    visit = Visit(name)
    visit_in_threads(visit)
    start("200 OK", [*PLAIN])  # tornado adds to the list it is given
    yield visit.answer()[:10]
    time.sleep(dawdle())
    visit.look()
    yield visit.answer()[10:]


def die(name: str) -> None:
    tracing().current().annotate("name", name)
    with tracing().span("done"):
        pass
    with tracing().span("fatal") as fatal:
        fatal.annotate("last", "words")
        os.kill(os.getpid(), signal.SIGKILL)


# ---------------------------------------------------------------- ASGI


async def in_a_task(visit: Visit, number: int) -> None:
    with tracing().span(f"task {number} {visit.name}"):
        await asyncio.sleep(dawdle())
        visit.look()


async def visit_in_tasks(visit: Visit) -> None:
    async with tracing().span(f"outer {visit.name}") as outer:
        outer.annotate("of", visit.name)
        await asyncio.sleep(dawdle())
        visit.look()
        await asyncio.gather(in_a_task(visit, 1), in_a_task(visit, 2))
        await asyncio.to_thread(in_a_thread, visit)
        with tracing().span(f"inner {visit.name}", "client"):
            await asyncio.sleep(dawdle())
            visit.look()


async def too_late(visit: Visit) -> None:
    """Goes on after the request."""
    await asyncio.sleep(0.05)
    visit.request.annotate("late", visit.name)
    tracing().current().annotate("late", visit.name)


left_behind: set[asyncio.Task[None]] = set()


async def asgi(scope: Message, receive: Receive, send: Send) -> None:
    """Answers a visit, or dies in the middle of a span."""
    if scope["type"] != "http":
        return
    page, _, name = scope["path"][1:].partition("/")
    if page == "die":
        die(name)
    if page == "otel":
        await answer(send, await asyncio.to_thread(visit_with_otel, name))
        return
    visit = Visit(name)
    await visit_in_tasks(visit)
    task = asyncio.create_task(too_late(visit))
    left_behind.add(task)
    task.add_done_callback(left_behind.discard)
    await answer(send, visit.answer())


async def answer(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def __getattr__(name: str) -> Any:
    """The same in the wrappers that any server can be given."""
    wrapped = {"wrapped_wsgi": wsgi, "wrapped_asgi": asgi}.get(name)
    if wrapped is None:
        raise AttributeError(name)
    wrap = tracing().wsgi if wrapped is wsgi else tracing().asgi
    globals()[name] = wrap(wrapped)
    return globals()[name]
