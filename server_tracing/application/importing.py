"""An application, or just Django's settings, imported by a command: only where somebody asked for it.

What an application does when it is imported, it does here too. So a command imports one only by its name, and
Django's settings only where DJANGO_SETTINGS_MODULE is set, which is how people tell programs to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from operator import attrgetter
from typing import Any

from server_tracing.config import ConfigError

DJANGO_VARIABLE = "DJANGO_SETTINGS_MODULE"


def application(name: str) -> Any:
    """What `module:name` names, as a server would find it; a `ConfigError` if that is nothing."""
    module, _, attribute = name.partition(":")
    if not module:
        raise ConfigError(f"--app is {name!r}; accepted: an application as module:name, such as shop:app.")
    _find_modules_here()
    try:
        return attrgetter(attribute or "application")(import_module(module))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - an import runs anybody's code
        raise ConfigError(f"--app {name}: {type(error).__name__}: {error}") from None


def django_settings(environ: Mapping[str, str] = os.environ) -> bool:
    """Import them, if the environment names some; whether it does."""
    if not environ.get(DJANGO_VARIABLE):
        return False
    _find_modules_here()
    try:
        import_module("django.conf").settings.INSTALLED_APPS  # noqa: B018 - asked for, they are imported
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        raise ConfigError(f"{DJANGO_VARIABLE} is {environ[DJANGO_VARIABLE]!r}: {error}") from None
    return True


def _find_modules_here() -> None:
    """Servers do: gunicorn changes into `chdir`, uvicorn has `--app-dir`."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
