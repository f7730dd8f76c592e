"""Start-up and shut-down as an ASGI application tells them, marked in the journal and handed on untouched."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from server_tracing.capture.asgi_server import App, Message, Receive, Scope, Send
from server_tracing.capture.faults import application_fault

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder

TOLD = (
    "lifespan.startup.complete",
    "lifespan.startup.failed",
    "lifespan.shutdown.complete",
    "lifespan.shutdown.failed",
)
UNSUPPORTED = "lifespan.unsupported"  # raising before any answer is how an application says so
RAISED = "lifespan.raised"


def recorded(app: App, recorder: Recorder, otherwise: App) -> App:
    """The application for the scope of type lifespan, something else for all others."""

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> Any:
        if scope.get("type") != "lifespan":
            return await otherwise(scope, receive, send)
        last = ""
        with suppress(RuntimeError):  # not asyncio's
            recorder.loops.add(get_running_loop())

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

    return lifespan
