"""Libraries that the X-Ray SDK instruments, from outside of the application."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module

log = logging.getLogger("server_tracing")

ALL = "all"
# Where a patch raises for want of something that need not be there, with what is there already patched.
DONE_BY_THEN = (("psycopg", "psycopg_pool"), ("psycopg", "psycopg_pool.pool"))


def switch_on(name: str, ignored: Sequence[str] = ()) -> None:
    """One of the SDK's libraries, all of them, or a module of the application's: every function of it."""
    from aws_xray_sdk.core import patch, patch_all

    if name == ALL:
        patch_all()
    else:
        try:
            patch((name,), ignore_module_patterns=ignored)
        except ModuleNotFoundError as error:
            if (name, error.name) not in DONE_BY_THEN:
                raise


def leave_out_queries() -> None:
    """No text of a query in any subsegment."""
    from aws_xray_sdk.core import xray_recorder

    xray_recorder.stream_sql = False


def instrument_django() -> None:
    """Database cursors and templates, as the SDK's application for Django does; each by itself."""
    for name, patch in (("db", "patch_db"), ("templates", "patch_template")):
        try:
            getattr(import_module(f"aws_xray_sdk.ext.django.{name}"), patch)()
        except Exception as error:  # noqa: BLE001 - a database that is not installed, for example
            log.warning("Django's %s cannot be instrumented: %s.", name, error)
