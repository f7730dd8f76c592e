"""Screens that remember."""

from __future__ import annotations

import io

from server_tracing.viewer.screen import Screen


def screen(width=None, colour=False):
    """One of a terminal's width, or a pipe; `text(screen)` is what it shows."""
    return Screen(io.StringIO(), width=width, colour=colour, aside=io.StringIO())


def text(screen):
    return screen.out.getvalue()


def rows(screen):
    return text(screen).splitlines()
