"""What a server can add to ASGI's own words, and the shapes the recorder of ASGI is written in.

ASGI tells an application that its client left only when it asks. A server knows more: `Server` is where it
says so. The one here knows nothing beyond the specification; `capture/uvicorn.py` has one that does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server_tracing.capture.announcing import TextHeaders
    from server_tracing.frameworks import Left

Message = Any  # a dict by the specification; what it really is, is for the server to judge
Scope = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Sent = Callable[..., None]
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
    dropped_code = -1  # what a WebSocket's client sees when the application raises
    deserted_code = -1  # and when it just returns

    denies = True  # a WebSocket with a response of the application's, also if its scope says nothing of it
    unshaken_status = 500  # what a WebSocket's client gets when the application just returns

    root_path = ""  # that it puts before every path
    left: Left | None = None  # reads the route that a framework in use leaves in the scope

    def connection(self, send: Send) -> Any:
        """Something whose `disconnected` is true once the client left before its response was complete."""
        return Connection()

    def broken(self, connection: Any) -> bool:
        """Whether the connection is closed, even if the server has not found the time to say so."""
        return False

    def is_sent(self, connection: Any) -> bool:
        """Whether a response the application has completed has left this process."""
        return True

    def when_sent(self, connection: Any, end: Sent) -> None:
        """Call `end(lost, late, at)` when it has, or cannot any more; `late`: that took until `at` on the
        monotonic clock (0: now)."""
        end(False, False)

    def is_lost(self, connection: Any) -> bool:
        """Whether a response the application has completed never left this process."""
        return False

    def is_begun(self, connection: Any) -> bool:
        """Whether the server took the head of a response that the application gave it."""
        return True

    def announce(self, connection: Any, headers: TextHeaders) -> None:
        """Put these headers into the response that the server gives in the application's place, if it can."""

    def holds_head(self, connection: Any) -> bool:
        """Whether it keeps that head until there is a body, and throws it away if none comes."""
        return False

    def forget(self, connection: Any) -> None:
        """The record is written: this connection is no longer of interest."""

    def refusal(self, connection: Any) -> tuple[int, str] | None:
        """Status and reason, where the server itself broke off a request the application was at."""
        return None

    def close_code(self, connection: Any, told: int) -> int:
        """The close code of a WebSocket, where the server knows better than what the application was told
        (-1: nothing yet)."""
        return told
