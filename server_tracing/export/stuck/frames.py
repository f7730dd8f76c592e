"""Frames of running threads, as this process sees them."""

from __future__ import annotations

from collections.abc import Mapping
from types import FrameType

Frames = list[FrameType]
Stacks = Mapping[int, FrameType]  # the innermost frame of every thread


def stack(top: FrameType | None) -> Frames:
    """A frame and all its callers, the outermost first."""
    frames: Frames = []
    while top is not None:
        frames.append(top)
        top = top.f_back
    frames.reverse()
    return frames
