"""The doors for uvicorn.

    uvicorn --http server_tracing.uvicorn:Protocol shop:app                           (uvicorn 0.38 and later)
    SERVER_TRACING_APP=shop:app uvicorn --factory server_tracing.uvicorn:create_app   (any, with any option)

`Protocol` is the HTTP implementation that uvicorn would have chosen by itself. `create_app` is a factory
that hands on the application named by SERVER_TRACING_APP, which may itself be a factory
(SERVER_TRACING_APP_FACTORY=1). Importing this module does nothing; asking for one of the two opens the door
of this process. Processes that only watch over others (`--workers`, `--reload`) never ask.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from server_tracing import config, last_good, worker
from server_tracing.units import switch

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder

APP, FACTORY = "SERVER_TRACING_APP", "SERVER_TRACING_APP_FACTORY"
NO_APP = f"{APP} is not set; it names the application: {APP}=shop:app uvicorn --factory {__name__}:create_app"

log = logging.getLogger("uvicorn.error")


def __getattr__(name: str) -> Any:
    if name != "Protocol":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    if not open_door():
        return AutoHTTPProtocol
    # A class of this module: a process that is spawned with it imports this module, and opens its own door.
    protocol = type(name, (AutoHTTPProtocol,), {"__module__": __name__, "__doc__": AutoHTTPProtocol.__doc__})
    globals()[name] = protocol
    return protocol


def create_app() -> Any:
    """The application itself; it is recorded where uvicorn calls it."""
    if not os.environ.get(APP):
        give_up(NO_APP)
    open_door(os.environ[APP])
    return load_app()


def load_app() -> Any:
    """What SERVER_TRACING_APP names, found and called as uvicorn would."""
    from uvicorn.importer import ImportFromStringError, import_from_string

    try:
        app = import_from_string(os.environ[APP])
    except ImportFromStringError as error:
        give_up(f"Error loading ASGI app. {error}")
    is_factory = app_is_factory()
    try:
        app = app()
    except TypeError:  # uvicorn tries it, too
        if is_factory:
            raise
    else:
        if not is_factory:
            log.warning("ASGI app factory detected. Using it, but please consider setting %s=1.", FACTORY)
    return app


def app_is_factory() -> bool:
    """Whether SERVER_TRACING_APP is said to name a factory."""
    try:
        return switch(os.environ.get(FACTORY) or False)
    except ValueError:
        give_up(f"{FACTORY} is {os.environ[FACTORY]!r}, which is neither 1 nor 0")


def open_door(app: str | None = None) -> bool:
    """Record the servers of this process; False if that is switched off."""
    loaded = settings()
    if not loaded.config.enabled:
        return False
    from server_tracing.capture.uvicorn import follow
    from server_tracing.instrument import instrument

    instrument(loaded.config)
    follow(partial(start, loaded, app), stop)
    return True


def settings() -> config.Loaded:
    """As they are now; in a respawned process, where they are wrong, as they were."""
    supervisor = last_good.supervisor()
    try:
        loaded = config.load(completed_later=True)
    except config.ConfigError as error:
        kept = last_good.recall(supervisor) if supervisor else None
        if kept is None:
            give_up(str(error))
        log.warning("%s The settings in use stay.", error)
        return kept
    if supervisor and loaded.config.enabled:
        last_good.keep(loaded, supervisor)
    return loaded


def start(loaded: config.Loaded, app: str | None, serving: Any) -> Recorder | None:
    """Begin to record in this process, which is about to serve with this `uvicorn.Config`."""
    import uvicorn

    traced = worker.start(
        loaded,
        server=f"uvicorn {uvicorn.__version__}",
        worker_class=implementation(serving),
        app=app or (serving.app if isinstance(serving.app, str) else None),
        application=serving.loaded_app,
        trusted_proxies=serving.forwarded_allow_ips if serving.proxy_headers else (),
    )
    if traced is None:
        return None
    atexit.register(traced.stop)  # a start that fails never shuts down
    return traced.recorder


def stop() -> None:
    """Deliver what can be delivered; uvicorn is done."""
    traced = worker.current()
    if traced is not None:
        traced.stop()


def implementation(serving: Any) -> str:
    """h11, httptools, zttp: as `--http` calls the one that serves."""
    for kind in serving.http_protocol_class.__mro__:
        package, _, module = kind.__module__.rpartition(".")
        if package == "uvicorn.protocols.http":
            return str(module).removesuffix("_impl").removeprefix("auto_")
    return ""


def give_up(sentence: str) -> NoReturn:
    """End as uvicorn does when it cannot start: a supervisor of 0.54 then stops instead of trying again."""
    from uvicorn import config as uvicorn_config

    print(sentence, file=sys.stderr)
    sys.exit(getattr(uvicorn_config, "STARTUP_FAILURE", 1))
