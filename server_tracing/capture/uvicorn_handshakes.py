"""WebSocket handshakes that the protocol's library turns down before the application is called.

Each of uvicorn's three implementations does so in its own place; all have no scope as long as no
application was called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from server_tracing.capture.uvicorn_patch import (
    WEBSOCKETS,
    WEBSOCKETS_SANSIO,
    WSPROTO,
    loaded,
    surround,
    then,
)
from server_tracing.capture.uvicorn_refusals import MAX_REASON, Known, read, reject

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder

SWITCHING, BAD_REQUEST = 101, 400
INVALID = "invalid WebSocket handshake"


def watch_handshakes(recorder_in_use: Callable[[], Recorder | None]) -> None:
    """Record what any loaded WebSocket implementation turns down, while there is a recorder."""

    def refused(protocol: Any, known: Known, status: int, reason: object) -> None:
        recorder = recorder_in_use()
        if recorder is not None:
            reject(recorder, protocol, known, status, str(reason or INVALID)[:MAX_REASON])

    def handle_connect(protocol: Any, event: Any) -> None:
        if protocol.response.status_code != SWITCHING:
            why = getattr(protocol.conn, "handshake_exc", None)
            refused(protocol, request(event.path, event.headers), protocol.response.status_code, why)

    def write_http_response(protocol: Any, status: Any, headers: Any, body: Any = None) -> None:
        if not called(protocol):
            asked = request(protocol.path, protocol.request_headers)
            refused(protocol, asked, int(status), sys.exc_info()[1])

    def data_received(protocol: Any, data: bytes) -> None:
        if not called(protocol) and protocol.transport.is_closing():
            refused(protocol, read(data), BAD_REQUEST, None)

    surround(loaded(WEBSOCKETS_SANSIO), "handle_connect", then(handle_connect))
    surround(loaded(WEBSOCKETS), "write_http_response", then(write_http_response))
    surround(loaded(WSPROTO), "data_received", then(data_received))


def called(protocol: Any) -> bool:
    """Whether an application was."""
    return getattr(protocol, "scope", None) is not None


def request(target: str, headers: Any) -> Known:
    """A handshake, of which the library knows all there is."""
    return Known("GET", target, "1.1", tuple((name.upper(), value) for name, value in headers.raw_items()))
