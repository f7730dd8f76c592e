"""Whose fault it was, by the final status alone: a caller's error, a throttled caller, or ours.

The SDK makes a fault of every exception that passes by, also of those that became a 404 or a redirect, and
its flags stick to a request whose status changes afterwards.
"""

from __future__ import annotations

from .documents import Document

TOO_MANY_REQUESTS = 429


def apply(document: Document, status: int | None) -> None:
    """Set the flags that a status stands for."""
    if status is None or status < 400:
        return
    document.fault = status >= 500
    document.error = status < 500
    document.throttle = status == TOO_MANY_REQUESTS
