"""An ASGI application with one path per thing that can happen to a request or a WebSocket."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PLAIN = [(b"content-type", b"text/plain")]


async def answer(send: Send, body: bytes, status: int = 200) -> None:
    headers = [*PLAIN, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, b"hello")


async def boom(scope: Message, receive: Receive, send: Send) -> None:
    try:
        raise KeyError("inner")
    except KeyError as inner:
        raise ValueError("boom") from inner


async def begin(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": PLAIN})


async def part(send: Send, body: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def midstream(scope: Message, receive: Receive, send: Send) -> None:
    await begin(send)
    await part(send, b"first")
    raise RuntimeError("too late")


async def stream(scope: Message, receive: Receive, send: Send) -> None:
    await begin(send)
    for _ in range(4):
        await part(send, b"x" * 10)
        await asyncio.sleep(0.1)
    await part(send, b"", more=False)


async def forever(scope: Message, receive: Receive, send: Send) -> None:
    await begin(send)
    for _ in range(2000):
        await part(send, b"x" * 65536)
        await asyncio.sleep(0.005)
    await part(send, b"", more=False)


async def events(scope: Message, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(3):
        await part(send, b"data: %d\n\n" % number)
    await part(send, b"", more=False)


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await answer(send, body)


async def empty(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def unchanged(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 304, "headers": []})
    await send({"type": "http.response.body"})


async def silent(scope: Message, receive: Receive, send: Send) -> None:
    return


async def slow(scope: Message, receive: Receive, send: Send) -> None:
    await asyncio.sleep(float(scope["query_string"] or 1.0))
    await answer(send, b"hello")


async def die(scope: Message, receive: Receive, send: Send) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def pid(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, str(os.getpid()).encode())


async def missing(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, b"nothing here", 404)


async def large(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, b"x" * 20_000_000)


async def split(scope: Message, receive: Receive, send: Send) -> None:
    headers = [(b"x-name", b"one\r\ntwo: three")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def halfway(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("before the first byte of a body")


ALL = (
    halfway,
    large,
    split,
    boom,
    midstream,
    stream,
    forever,
    events,
    echo,
    empty,
    unchanged,
    silent,
    slow,
    die,
    pid,
    missing,
)
PAGES = {f"/{page.__name__}": page for page in ALL}


async def lifespan(receive: Receive, send: Send) -> None:
    fails = os.environ.get("TEST_LIFESPAN", "")
    if fails == "raises":
        raise RuntimeError("no lifespan here")
    await receive()
    if fails == "startup":
        await send({"type": "lifespan.startup.failed", "message": "database is away"})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if fails == "shutdown":
        await send({"type": "lifespan.shutdown.failed", "message": "still busy"})
        return
    await send({"type": "lifespan.shutdown.complete"})


async def websocket(scope: Message, receive: Receive, send: Send) -> None:
    """Refuses `/refuse` and `/deny`, only returns from `/return`.

    Closes first on `/bye`, raises on `/boom`, else echoes until the client leaves.
    """
    await receive()
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close", "code": 4403})
        return
    if scope["path"] == "/deny":
        await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"teapot"})
    if scope["path"] in ("/deny", "/return"):
        return
    await send({"type": "websocket.accept"})
    if scope["path"] == "/boom":
        raise ValueError("socket boom")
    if scope["path"] == "/desert":
        return
    if scope["path"] == "/bye":
        await send({"type": "websocket.close", "code": 4001})
        return
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message.get("text") or ""})


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer by path: a page of that name, hello for all else."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await PAGES.get(scope["path"], hello)(scope, receive, send)


def create() -> Callable[..., Awaitable[None]]:
    """The application, for `--factory`."""
    return app
