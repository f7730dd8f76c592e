"""Who calls, by the name of the module."""

from __future__ import annotations

import sys
from types import FrameType


def calling_module(*passed_over: str) -> str:
    """The module whose code is running, not counting those of these packages."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if not name.startswith(passed_over):
            return name
        frame = frame.f_back
    return "somebody"
