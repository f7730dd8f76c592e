"""A WSGI application with one path per thing that can happen to a request."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
Start = Callable[..., Any]

PLAIN = [("Content-Type", "text/plain")]


def hello(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"hello"]


def boom(environ: Environ, start: Start) -> Iterable[bytes]:
    try:
        raise KeyError("inner")
    except KeyError as inner:
        raise ValueError("boom") from inner


def midstream(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", PLAIN)
    yield b"first"
    raise RuntimeError("too late")


def stream(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", PLAIN)
    for _ in range(4):
        yield b"x" * 10
        time.sleep(0.1)


def forever(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", PLAIN)
    for _ in range(2000):
        yield b"x" * 65536
        time.sleep(0.005)


def file(environ: Environ, start: Start) -> Iterable[bytes]:
    handle = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    handle.write(b"f" * 100_000)
    handle.seek(0)
    start("200 OK", PLAIN)
    wrapper: Callable[..., Iterable[bytes]] = environ["wsgi.file_wrapper"]
    return wrapper(handle)


def written(environ: Environ, start: Start) -> Iterable[bytes]:
    write = start("200 OK", [*PLAIN, ("Content-Length", "10")])
    write(b"write")
    return [b"write"]


def echo(environ: Environ, start: Start) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start("200 OK", [*PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def empty(environ: Environ, start: Start) -> Iterable[bytes]:
    start("204 No Content", [])
    return []


def unchanged(environ: Environ, start: Start) -> Iterable[bytes]:
    start("304 Not Modified", [])
    return []


def late_status(environ: Environ, start: Start) -> Iterable[bytes]:
    start("404 Not Found", PLAIN)
    return [b"nothing", b" ", b"here"]


def statusless(environ: Environ, start: Start) -> Iterable[bytes]:
    return [b"x"]


def slow(environ: Environ, start: Start) -> Iterable[bytes]:
    print("slow now", flush=True)
    time.sleep(float(environ.get("QUERY_STRING") or 1.0))
    return hello(environ, start)


def hold(environ: Environ, start: Start) -> Iterable[bytes]:
    sum(itertools.repeat(0))  # native code without an end: no thread and no signal handler gets a turn
    return []


def die(environ: Environ, start: Start) -> Iterable[bytes]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def abort(environ: Environ, start: Start) -> Iterable[bytes]:
    os.kill(os.getpid(), signal.SIGABRT)
    return []


def leave(environ: Environ, start: Start) -> Iterable[bytes]:
    raise SystemExit(7)


def pid(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", PLAIN)
    return [str(os.getpid()).encode()]


ALL = (
    boom,
    midstream,
    stream,
    forever,
    file,
    written,
    echo,
    empty,
    unchanged,
    statusless,
    slow,
    hold,
    die,
    abort,
    leave,
    pid,
)
PAGES = {f"/{page.__name__}": page for page in ALL}


def app(environ: Environ, start: Start) -> Iterable[bytes]:
    """Answer by path: a page of that name, 404 for `/missing...`, hello for all else."""
    path: str = environ["PATH_INFO"]
    if path.startswith("/missing"):
        return late_status(environ, start)
    return PAGES.get(path, hello)(environ, start)
