"""What a request and a WebSocket have in common on their way through an application: how they begin, what the
server answers in the application's place, and that their end is one record, whatever went wrong.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from msgspec import Struct

from server_tracing.capture.asgi_server import Receive, Scope, Send, Server
from server_tracing.capture.swallowed import noted
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder, Slot

NOBODY = ("", 0)  # scope["client"] is None on a unix socket
CANCELLATIONS = (CancelledError, GeneratorExit)
CANCELLED = "cancelled"


def begin_of(recorder: Recorder, scope: Scope) -> Slot | None:
    """Of any scope that has no more than it must have: slower than what asgi_http.py does first."""
    try:
        path, query = scope.get("raw_path") or raw_path(scope), scope.get("query_string")
        host, port = scope.get("client") or NOBODY
        return recorder.begin_bytes(
            scope.get("method", "GET"),
            path + b"?" + query if query else path,
            scope.get("http_version", "1.1"),
            scope.get("scheme") or ("http" if scope["type"] == "http" else "ws"),
            host,
            port,
            pairs(scope["headers"]),
        )
    except Exception:  # noqa: BLE001 - an odd scope costs a record, not a response
        return None


def raw_path(scope: Scope) -> bytes:
    """The path as the client sent it, or nearly so: not every server tells."""
    return quote(scope["path"]).encode()


def pairs(headers: Any) -> Any:
    """Headers that may be looked at: an iterator would be used up by looking."""
    return headers if isinstance(headers, (list, tuple)) else ()


class Passing(Struct):
    """A request or a WebSocket. A Struct, because one is made for each, and that costs 0.23 us where a class
    with slots takes 0.37."""

    slot: Slot
    connection: Any  # what has `disconnected`: the server's, or the slot, if only ASGI tells
    inner_receive: Receive
    inner_send: Send
    scope: Scope
    recorder: Recorder
    server: Server

    def finish(self) -> None:
        """The application returned."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """The application raised, or was cancelled."""
        raise NotImplementedError

    def end(self, outcome: int, **details: Any) -> None:
        """It is over."""
        raise NotImplementedError

    def unanswered(self, status: int, **details: Any) -> None:
        """Nothing was sent: the server answers in its own words, if it can."""
        self.slot.status = status
        self.slot.sent = self.server.error_bytes if status == 500 else 0
        self.end(Outcome.ERROR, **details)

    def write(self, outcome: int, failed: bool, details: dict[str, Any]) -> None:
        """The record; what was noted of an exception counts where the answer says that something `failed`."""
        slot, server = self.slot, self.server
        if failed and "fault" not in details and (fault := noted(self.scope)):
            details["fault"] = fault
            outcome = Outcome.ERROR if outcome == Outcome.OK else outcome
        details["route"] = server.left(self.scope) if server.left is not None else ""
        server.forget(self.connection)
        self.recorder.end(slot, outcome, slot.status, slot.sent, slot.received, **details)


def concluded(passing: Passing, error: BaseException | None = None) -> None:
    """End a record; a fault of our own costs it the details, nothing else."""
    try:
        if error is None:
            passing.finish()
        else:
            passing.fail(error)
    except Exception:  # noqa: BLE001 - neither scope nor server is ours
        passing.recorder.end(passing.slot, Outcome.OK if error is None else Outcome.ERROR)
