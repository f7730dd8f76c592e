"""Libraries that the X-Ray SDK instruments, from outside of the application."""

from __future__ import annotations

from collections.abc import Sequence

ALL = "all"


def switch_on(name: str, ignored: Sequence[str] = ()) -> None:
    """One of the SDK's libraries, all of them, or a module of the application's: every function of it."""
    from aws_xray_sdk.core import patch, patch_all

    if name == ALL:
        patch_all()
    else:
        patch((name,), ignore_module_patterns=ignored)
