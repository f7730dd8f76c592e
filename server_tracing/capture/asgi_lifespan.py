"""Start-up and shut-down as an ASGI application tells them, marked in the journal and handed on untouched."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from server_tracing.capture.asgi_server import App, Message, Receive, Scope, Send, application_fault

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder

TOLD = (
    "lifespan.startup.complete",
    "lifespan.startup.failed",
    "lifespan.shutdown.complete",
    "lifespan.shutdown.failed",
)
UNSUPPORTED = "lifespan.unsupported"  # raising before an answer is how an application says so
RAISED = "lifespan.raised"


async def lifespan(app: App, recorder: Recorder, scope: Scope, receive: Receive, send: Send) -> Any:
    """Run the application's lifespan and mark what it says of itself."""
    last = ""

    def note(message: Message) -> Awaitable[None]:
        nonlocal last
        what = message.get("type") if isinstance(message, dict) else None
        if what in TOLD:
            last = what
            recorder.mark(what, str(message.get("message", "")))
        return send(message)

    try:
        return await app(scope, receive, note)
    except Exception as error:
        if not last.endswith(".failed"):  # having said so, frameworks raise the same exception once more
            recorder.mark(RAISED if last else UNSUPPORTED, "", application_fault(error))
        raise
