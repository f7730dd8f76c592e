"""What a server can add to ASGI's own words, and the shapes the recorder of ASGI is written in.

ASGI tells an application that its client left only when it asks. A server knows more: `Server` is where it
says so. The one here knows nothing beyond the specification; `capture/uvicorn.py` has one that does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from server_tracing.capture.faults import fault_from

if TYPE_CHECKING:
    from server_tracing.record import Fault

Message = Any  # a dict by the specification; what it really is, is for the server to judge
Scope = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[Any]]


class Connection:
    """A client as far as ASGI tells: gone once the application was told so."""

    __slots__ = ("disconnected",)

    def __init__(self) -> None:
        self.disconnected = False


class Server:
    """A server of which nothing is known."""

    error_bytes = -1  # length of the body of its own 500
    cancelled_status = 0  # what it answers when the application was cancelled before its response
    dropped_code = -1  # what a WebSocket's client sees when the application ends without closing it

    def connection(self, receive: Receive, send: Send) -> Any:
        """Something whose `disconnected` is true once the client left before its response was complete."""
        return Connection()

    def refusal(self, connection: Any) -> tuple[int, str] | None:
        """Status and reason, where the server itself broke off a request the application was at."""
        return None

    def in_transit(self, connection: Any) -> bool:
        """Whether a response the application has completed is still, or for ever, in this process."""
        return False

    def when_sent(self, connection: Any, end: Callable[[bool], None]) -> None:
        """Call `end(lost)` when what was in transit has left this process, or cannot any more."""
        end(False)

    def close_code(self, connection: Any, told: int) -> int:
        """The close code of a WebSocket, where the server knows better than what the application was told
        (-1: nothing yet)."""
        return told


def application_fault(error: BaseException) -> Fault:
    """The exception without the first frame of its stack, which is the recorder's own."""
    fault = fault_from(error)
    del fault.frames[:1]
    return fault
