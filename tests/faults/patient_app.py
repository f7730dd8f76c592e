"""An ASGI application whose WebSockets echo, and whose streams go on until somebody asks for `/release`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

released = asyncio.Event()


async def answer(send: Send, body: bytes, more: bool = False) -> None:
    """The head and the first part."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def websocket(receive: Receive, send: Send) -> None:
    """Echo until the client leaves."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message.get("text") or ""})


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """`/stream`, `/release`, and hello for all else."""
    if scope["type"] == "websocket":
        await websocket(receive, send)
    elif scope["type"] == "http":
        await answer(send, b"begun ", more=scope["path"] == "/stream")
        if scope["path"] == "/release":
            released.set()
        if scope["path"] == "/stream":
            await released.wait()
            await send({"type": "http.response.body", "body": b"ended"})
