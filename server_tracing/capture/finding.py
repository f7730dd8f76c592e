"""Which open request a stack of frames serves: read off the stack, where nothing else was noted.

Asked by the watchdog for requests that take too long, and once in a process at most by those that are being
served at the very moment the application first asks for them. Their stacks hold the slot, as a local variable
of a recorder in this room or on the request that gunicorn is handling.
"""

from __future__ import annotations

from types import FrameType

from server_tracing.capture.gunicorn_response import SLOT
from server_tracing.capture.recorder import Slot


def slot_of(frame: FrameType | None) -> Slot | None:
    """The innermost request that this frame or one of its callers serves."""
    while frame is not None:
        found = slot_in(frame)
        if found is not None:
            return found
        frame = frame.f_back
    return None


def slot_in(frame: FrameType) -> Slot | None:
    """The request that this very frame serves."""
    module = frame.f_globals.get("__name__", "")
    if module.startswith("server_tracing.capture."):
        found = frame.f_locals.get("slot") or _passing(frame.f_locals.get("self"))
    elif module.startswith("gunicorn."):
        found = getattr(frame.f_locals.get("req"), SLOT, None)
    else:
        return None
    return found if isinstance(found, Slot) else None


def _passing(recorder_of_one: object) -> object:
    """The slot of a WSGI response that the server is iterating over."""
    return getattr(getattr(recorder_of_one, "passing", None), "slot", None)
