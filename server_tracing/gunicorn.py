"""The gunicorn door: `gunicorn -c python:server_tracing.gunicorn shop:app`.

Replaces nobody's configuration: `./gunicorn.conf.py`, or what SERVER_TRACING_GUNICORN_CONF names, is loaded
by gunicorn's own loader, and handed on with two hooks more. From one's own configuration file the same is

    from server_tracing.gunicorn import install
    install(globals())

gunicorn imports a `python:` module once and then asks for its `vars()` at every start and HUP. This module's
`vars()` are that configuration, loaded anew each time: edits take effect, and importing it does nothing.
What the hooks do stands in gunicorn_workers.py, which is imported when a master starts.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

CONF = "SERVER_TRACING_GUNICORN_CONF"
INSTALLED = "__server_tracing__"


def install(namespace: dict[str, Any], **settings: object) -> None:
    """Have the servers that a configuration file describes recorded; `settings` as in the settings file."""
    from server_tracing.capture.gunicorn_lifecycle import before_loading, chain_server_hook

    if switched_off() or INSTALLED in namespace:
        return
    namespace[INSTALLED] = True
    before_loading(lambda: instrument(settings))
    for name in ("on_starting", "on_reload"):
        chain_server_hook(namespace, name, lambda server: prepare(server, settings))


def instrument(settings: dict[str, object]) -> None:
    """In the process that is about to load the application: a worker, or with --preload the master."""
    from server_tracing import gunicorn_workers

    gunicorn_workers.instrument(settings)


def prepare(server: Any, settings: dict[str, object]) -> None:
    """In the master, before any worker is forked with a new configuration."""
    from server_tracing import gunicorn_workers

    gunicorn_workers.prepare(server, settings)


def configuration() -> dict[str, Any]:
    """The configuration gunicorn would have had without us, with us."""
    namespace = dict(users_configuration())
    install(namespace)
    return namespace


def users_configuration() -> dict[str, Any]:
    """What gunicorn's loader makes of the user's file; what is wrong with it, gunicorn says."""
    from gunicorn.app.base import Application
    from gunicorn.config import get_default_config_file

    location = os.environ.get(CONF) or get_default_config_file()
    if not location:
        return {}
    kind, _, name = location.partition(":")
    if kind == "python":
        return dict(Application.get_config_from_module_name(None, name)) if name != __name__ else {}
    return dict(Application.get_config_from_filename(None, name if kind == "file" else location))


def switched_off() -> bool:
    """Whether the environment forbids all of this."""
    from server_tracing.units import switch

    try:
        return not switch(os.environ.get("SERVER_TRACING_ENABLED") or True)
    except ValueError:
        return False  # a wrong setting is told when the settings are loaded


class Door(ModuleType):
    """This module as gunicorn sees it."""

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The user's configuration with us, as of now."""
        try:
            return configuration()
        except AttributeError as error:  # to `vars` that would mean that there is no `__dict__`
            raise RuntimeError(str(error)) from error


sys.modules[__name__].__class__ = Door
