"""The common ASGI application with the pages that only uvicorn's tests need."""

from __future__ import annotations

import asyncio

from asgi_app import PLAIN, Message, Receive, Send, answer, begin, part
from asgi_app import app as common

BIG = 32 << 20  # more than any socket buffers


async def big(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, bytes(BIG))


async def big_in_two(scope: Message, receive: Receive, send: Send) -> None:
    await begin(send)
    await part(send, bytes(BIG))
    await part(send, bytes(BIG), more=False)


async def drips(scope: Message, receive: Receive, send: Send) -> None:
    await begin(send)
    for _ in range(50):
        await part(send, b"x" * 1024)
        await asyncio.sleep(0.02)
    await part(send, b"", more=False)


async def background(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, b"hello")
    await asyncio.sleep(0.3)
    raise LookupError("in the background")


async def afterwards(scope: Message, receive: Receive, send: Send) -> None:
    await answer(send, b"hello")
    await asyncio.sleep(0.3)


async def until_left(scope: Message, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def iterator(scope: Message, receive: Receive, send: Send) -> None:
    headers = iter([*PLAIN, (b"x-once", b"1"), (b"content-length", b"5")])
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


async def deny(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.http.response.start", "status": 418, "headers": PLAIN})
    await send({"type": "websocket.http.response.body", "body": b"teapot"})


async def quiet(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


async def early(scope: Message, receive: Receive, send: Send) -> None:
    raise ValueError("before the handshake")


HTTP = (big, big_in_two, drips, background, afterwards, until_left, iterator)
PAGES = {f"/{page.__name__}": page for page in HTTP}
SOCKETS = {f"/{page.__name__}": page for page in (deny, quiet, early)}


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer by path."""
    pages = SOCKETS if scope["type"] == "websocket" else PAGES
    await pages.get(scope.get("path", ""), common)(scope, receive, send)


def create() -> object:
    """The application, for `--factory`."""
    return app


class Two:
    """An ASGI 2 application."""

    def __init__(self, scope: Message) -> None:
        self.scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        await app(self.scope, receive, send)


def wsgi(environ: dict[str, str], start_response: object) -> list[bytes]:
    """A WSGI application."""
    start_response("200 OK", [("content-type", "text/plain")])  # type: ignore[operator]
    return [environ["PATH_INFO"].encode()]
