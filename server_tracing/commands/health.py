"""`server-tracing health`."""

from __future__ import annotations

import os
from contextlib import suppress

import click

from server_tracing.config import Config
from server_tracing.store import StoreError, View
from server_tracing.viewer.health import Health, show
from server_tracing.viewer.human import visible
from server_tracing.viewer.screen import Screen

from . import common
from .live import workers


@click.command()
@common.as_json
@common.state_dir
def command(*, as_json: bool, state_dir: str | None) -> int:
    """Does every request add up? Who is alive, and what waits to be delivered?

    For each exporter: seen = excluded + in flight + unsampled + delivered + dropped + pending.
    The exit code is 0 if that is so.
    """
    config = common.settings(state_dir).config
    health = _examine(config)
    screen = Screen.standard()
    if health.is_empty and not health.trouble:
        screen.remark(f"There is nothing in {visible(config.state_dir)}: no server has recorded there.")
        return common.NOTHING
    sound = show(screen, health, as_json=as_json, now=common.now())
    return common.OK if sound else common.NOTHING


def _examine(config: Config) -> Health:
    health = Health(config.state_dir, [], by_udp=("xray",) if config.xray.transport == "daemon" else ())
    view = _view(config, health)
    health.workers = workers(config, view)
    if view is not None:
        health.totals, folded = view.settled([worker.origin.id for worker in health.workers])
        health.workers = [worker for worker in health.workers if worker.origin.id not in folded]
        health.events = view.events()
        health.store_bytes = _bytes(view.path)
    return health


def _view(config: Config, health: Health) -> View | None:
    try:
        return common.open_view(config)
    except StoreError as error:
        if error.reason != "missing":
            health.trouble = str(error)
        return None


def _bytes(path: str) -> int:
    """The store, and what stands in its log yet."""
    total = 0
    for name in (path, path + "-wal"):
        with suppress(OSError):
            total += os.path.getsize(name)
    return total
