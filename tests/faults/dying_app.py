"""The same bad day for WSGI and ASGI: a path for each way to die, to hang, and to beget children."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote

Deed = Callable[[str], object]


def hang_here(seconds: str) -> None:
    """Wait in Python, the interpreter free for others."""
    time.sleep(float(seconds or 30))


def hold_the_interpreter(_: str) -> None:
    """Native code without an end: no thread and no signal handler gets a turn."""
    sum(itertools.repeat(0))


def crash(_: str) -> None:
    """Read where nothing is: SIGSEGV."""
    ctypes.string_at(0)


def leave(code: str) -> None:
    os._exit(int(code or 7))


def take_signal(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name or "SIGKILL"))
    time.sleep(30)


def eat_memory(_: str) -> None:
    """Until the kernel has had enough."""
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(1 << 20)))


def fork(times: str) -> None:
    """Children that leave at once."""
    for _ in range(int(times or 1)):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)


def process(method: str) -> None:
    """A process of multiprocessing's, which fares as it does without us: in gthread's threads and beside
    gevent some of them end with an error."""
    child = multiprocessing.get_context(method).Process(target=os.getpid)
    child.start()
    child.join()


def program(_: str) -> None:
    """A program, and a function called in between."""
    subprocess.run(["true"], preexec_fn=os.getpid, check=True)


ahead = 0.0
clock, clock_ns = time.time, time.time_ns


def set_the_clock(by: str) -> None:
    """The wall clock is set in the middle of the request, for this process."""
    global ahead
    ahead += float(by)
    time.time = lambda: clock() + ahead
    time.time_ns = lambda: clock_ns() + int(ahead * 1e9)
    time.sleep(0.3)


DEEDS: dict[str, Deed] = {
    "/hang": hang_here,
    "/hold": hold_the_interpreter,
    "/crash": crash,
    "/exit": leave,
    "/signal": take_signal,
    "/eat": eat_memory,
    "/fork": fork,
    "/process": process,
    "/program": program,
    "/clock": set_the_clock,
    "/pid": lambda _: os.getpid(),
    "/threads": lambda _: threading.active_count(),
}


def wsgi(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Do what the path says with what the query says, and answer with what came of it."""
    deed = DEEDS.get(environ["PATH_INFO"], str)
    said = str(deed(unquote(environ["QUERY_STRING"]))).encode()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(said)))])
    return [said]


async def wait_here(seconds: str) -> None:
    """Wait as a coroutine does."""
    await asyncio.sleep(float(seconds or 30))


async def wait_for_a_thread(seconds: str) -> None:
    await asyncio.to_thread(hang_here, seconds)


async def wait_for_children(seconds: str) -> None:
    await asyncio.gather(*[wait_here(seconds) for _ in range(2)])


WAITS: dict[str, Callable[[str], Awaitable[object]]] = {
    "/wait": wait_here,
    "/pool": wait_for_a_thread,
    "/gather": wait_for_children,
}


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The same."""
    if scope["type"] == "lifespan":
        while True:
            happened = (await receive())["type"]
            await send({"type": f"{happened}.complete"})
            if happened.endswith("shutdown"):
                return
    path, query = scope["path"], unquote(scope["query_string"].decode())
    said = await WAITS[path](query) if path in WAITS else DEEDS.get(path, str)(query)
    body = str(said).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
