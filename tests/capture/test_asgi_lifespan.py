"""Start-up and shut-down: marked, and what they were without us."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_kit import Wire, saying

SCOPE = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
COMPLETE = {"type": "lifespan.startup.complete"}
FAILED = {"type": "lifespan.startup.failed", "message": "database is away"}


def test_what_an_application_tells_is_marked_and_arrives() -> None:
    """In its order, as the very objects."""
    told = [COMPLETE, {"type": "lifespan.shutdown.failed"}]
    wire = Wire()
    wire.run(saying(*told), SCOPE)
    assert wire.recorder.marks == [message["type"] for message in told]
    assert all(one is other for one, other in zip(wire.sent, told, strict=True))


@pytest.mark.parametrize(
    ("told", "marks"),
    [
        ([], ["lifespan.unsupported"]),
        ([COMPLETE], ["lifespan.startup.complete", "lifespan.raised"]),
        ([FAILED], ["lifespan.startup.failed"]),
    ],
)
def test_an_exception_passes_and_is_marked_once(told: list[Any], marks: list[str]) -> None:
    """Raised before any answer it says that lifespans are not supported."""
    raised = RuntimeError("no lifespan here")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await saying(*told)(scope, receive, send)
        raise raised

    wire = Wire()
    with pytest.raises(RuntimeError) as caught:
        wire.run(app, SCOPE)
    assert caught.value is raised
    assert wire.recorder.marks == marks


@pytest.mark.parametrize("message", [None, {}, {"type": "lifespan.unheard.of"}])
def test_a_strange_message_is_for_the_server_to_judge(message: Any) -> None:
    """It arrives as it is and leaves no mark."""
    wire = Wire()
    wire.run(saying(message), SCOPE)
    assert wire.sent == [message]
    assert wire.recorder.marks == []
