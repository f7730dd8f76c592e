"""Applications that use the X-Ray SDK and OpenCensus, and know nothing of this package.

`/visit/<name>` leaves its name wherever something can be left, in spans of both, while other visits do the
same, and answers with the trace ids it saw. TEST_LAZY makes the first visit import the libraries.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from sqlite3 import connect  # what it is now: instrumented, if that came before
from typing import Any

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]

POOL = ThreadPoolExecutor(4)


def xray() -> Any:
    """The SDK's recorder."""
    return import_module("aws_xray_sdk.core").xray_recorder


def tracer() -> Any:
    """OpenCensus' tracer."""
    return import_module("opencensus.trace.execution_context").get_opencensus_tracer()


if "TEST_LAZY" not in os.environ:
    xray()
    tracer()


def dawdle() -> float:
    """A while in which other visits run."""
    return random.random() / 100


def seen() -> set[str]:
    """The trace, as each of them has it."""
    return {xray().current_segment().trace_id[2:].replace("-", ""), tracer().span_context.trace_id}


def in_a_thread(name: str) -> None:
    with xray().in_subsegment(f"thread {name}") as subsegment:
        subsegment.put_annotation("name", name)
        time.sleep(dawdle())
        with tracer().span(f"within {name}"):
            time.sleep(dawdle())


def statement() -> None:
    """Told of where the SDK instruments sqlite3."""
    connect(":memory:").execute("select 1")


def begin_visit(name: str) -> None:
    xray().put_annotation("xray", name)
    xray().current_segment().set_user(name)
    tracer().add_attribute_to_current_span("opencensus", name)


def visit(name: str) -> bytes:
    begin_visit(name)
    with xray().in_subsegment(f"outer {name}"):
        time.sleep(dawdle())
        xray().put_annotation("name", name)
        work = POOL.submit(in_a_thread, name)
        with tracer().span(f"inner {name}") as span:
            time.sleep(dawdle())
            span.add_attribute("name", name)
            statement()
        work.result()
        found = seen()
    return json.dumps({"name": name, "seen": sorted(found | seen())}).encode()


async def in_a_task(name: str) -> None:
    @xray().capture_async(f"task {name}")
    async def captured() -> None:
        await asyncio.sleep(dawdle())
        with tracer().span(f"in task {name}"):
            await asyncio.sleep(dawdle())

    await captured()


async def visit_in_tasks(name: str) -> bytes:
    begin_visit(name)
    async with xray().in_subsegment_async(f"outer {name}"):
        await asyncio.sleep(dawdle())
        xray().put_annotation("name", name)
        pooled = asyncio.get_running_loop().run_in_executor(POOL, in_a_thread, name)
        with tracer().span(f"inner {name}") as span:
            await asyncio.sleep(dawdle())
            span.add_attribute("name", name)
            await asyncio.to_thread(statement)
        await asyncio.gather(in_a_task(name), pooled)
        found = seen()
    return json.dumps({"name": name, "seen": sorted(found | seen())}).encode()


def wsgi(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answers a visit."""
    body = visit(environ["PATH_INFO"].rpartition("/")[2])
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: Message, receive: Any, send: Send) -> None:
    """Answers a visit."""
    if scope["type"] == "http":
        body = await visit_in_tasks(scope["path"].rpartition("/")[2])
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
