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
            refused(protocol, request(event), protocol.response.status_code, why)

    def write_http_response(protocol: Any, status: Any, headers: Any, body: Any = None) -> None:
        if not called(protocol):
            refused(protocol, read(protocol.server_tracing_head), int(status), sys.exc_info()[1])

    def keep_head(protocol: Any, data: bytes) -> None:
        if not hasattr(protocol, "server_tracing_head"):  # uvicorn hands a head over in one piece
            protocol.server_tracing_head = data

    def data_received(protocol: Any, data: bytes) -> None:
        if not called(protocol) and protocol.transport.is_closing():
            refused(protocol, read(data), answered_by_wsproto(data), None)

    surround(loaded(WEBSOCKETS_SANSIO), "handle_connect", then(handle_connect))
    surround(loaded(WEBSOCKETS), "data_received", then(keep_head))
    surround(loaded(WEBSOCKETS), "write_http_response", then(write_http_response))
    surround(loaded(WSPROTO), "data_received", then(data_received))


def called(protocol: Any) -> bool:
    """Whether an application was."""
    return getattr(protocol, "scope", None) is not None


def request(event: Any) -> Known:
    """A handshake, of which the library knows all there is; an old one takes nothing but GET."""
    headers = tuple((name.upper(), value) for name, value in event.headers.raw_items())
    return Known(getattr(event, "method", "GET"), event.path, "1.1", headers)


def answered_by_wsproto(head: bytes) -> int:
    """The status wsproto turned this handshake down with: it told only uvicorn, so it is asked once more."""
    wsproto = sys.modules["wsproto"]
    try:
        wsproto.WSConnection(connection_type=wsproto.ConnectionType.SERVER).receive_data(head)
    except Exception as refusal:  # noqa: BLE001 - of any kind; it has the answer as a hint
        return int(getattr(getattr(refusal, "event_hint", None), "status_code", BAD_REQUEST))
    return BAD_REQUEST
