"""What uvicorn's transports tell of a response: whether it left before the connection is closed."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server_tracing.capture.uvicorn_server import has_left

MUCH = bytes(64 << 20)  # more than any socket buffers


@asynccontextmanager
async def served() -> AsyncIterator[tuple[asyncio.Transport, socket.socket]]:
    """The server's transport of a connection, and the client's socket."""
    accepted: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    class Served(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(transport)  # type: ignore[arg-type]

    server = await asyncio.get_running_loop().create_server(Served, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        yield await accepted, client
    server.close()


def test_a_response_has_left_as_soon_as_it_is_written() -> None:
    """Its record ends there: until the loop says that the connection is closed, the worker may be killed."""

    async def answer() -> bool:
        async with served() as (transport, _client):
            transport.write(b"all of it")
            transport.close()
            return has_left(transport)

    assert asyncio.run(answer())


def test_a_response_that_waits_for_its_client_has_not_left() -> None:
    """Closing, it still has most of its bytes."""

    async def answer() -> bool:
        async with served() as (transport, _client):
            transport.write(MUCH)
            transport.close()
            left = has_left(transport)
            transport.abort()
            return left

    assert not asyncio.run(answer())


def test_a_response_to_nobody_has_not_left() -> None:
    """The client reset the connection before the last write, and only that write found out."""

    async def answer() -> bool:
        async with served() as (transport, client):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            transport.write(b"too late")
            transport.close()
            return has_left(transport)

    assert not asyncio.run(answer())
