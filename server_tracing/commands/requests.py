"""`server-tracing requests`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from heapq import merge
from itertools import islice
from typing import NoReturn

import click

from server_tracing.config import Config
from server_tracing.record import Request
from server_tracing.store import Filter, StoreError
from server_tracing.viewer.filters import choose
from server_tracing.viewer.requests import follow, show
from server_tracing.viewer.screen import Screen

from . import common
from .live import running

HINT = "server-tracing trace ID shows one of them whole."


@click.command()
@click.option("--status", metavar="STATUS", multiple=True, help="404, 5xx, 500-599, none; several add up.")
@click.option(
    "--outcome", metavar="OUTCOME", multiple=True, help="ok, error, disconnected, rejected, killed, running."
)
@common.route
@click.option("--path", metavar="PATH", default="", help="How the path begins; with * and ? all of it.")
@common.service
@click.option("--slower", metavar="TIME", default="", help="Took at least 500ms, 2s, ...")
@common.since
@click.option(
    "--trace", metavar="ID", default="", help="The trace id or how it begins; X-Ray's spelling too."
)
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=0), default=50, help="At most N, 0 for all; default 50."
)
@click.option("--follow", "following", is_flag=True, help="Then go on with what arrives, until interrupted.")
@common.as_json
@common.state_dir
def command(*, limit: int, following: bool, as_json: bool, state_dir: str | None, **options: object) -> int:
    """Requests, the newest first."""
    now = common.now()
    wanted = common.usage(lambda: choose(now=now, **options))  # type: ignore[arg-type]
    config = common.settings(state_dir).config
    screen = Screen.standard()
    found = _found(config, wanted)
    if following and wanted.outcomes == {"running"}:
        raise click.UsageError("--follow shows requests once they have ended, and these have not.")
    if following:
        _follow(screen, config, wanted, found, limit, as_json)
    count = show(screen, islice(found, limit or None), as_json=as_json, now=now)
    if not count:
        screen.remark("No request matches.")
    elif screen.is_terminal and not as_json:
        more = f"{count} newest; --limit shows more. " if count == limit and next(found, None) else ""
        screen.remark(screen.style(more + HINT, "dim"))
    return common.OK if count else common.NOTHING


def _found(config: Config, wanted: Filter) -> Iterator[Request]:
    """From the store, and what is running where that is asked for."""
    if "running" not in wanted.outcomes:
        return common.open_view(config).query(wanted)
    live = [request for request in running(config) if wanted.matches(request)]
    return merge(live, _stored(config, wanted), key=lambda request: request.start, reverse=True)


def _stored(config: Config, wanted: Filter) -> Iterable[Request]:
    try:
        return common.open_view(config).query(wanted) if wanted.outcomes != {"running"} else ()
    except StoreError:
        return ()  # nothing has ended yet


def _follow(
    screen: Screen, config: Config, wanted: Filter, found: Iterable[Request], limit: int, as_json: bool
) -> NoReturn:
    view = common.open_view(config)
    mark = view.mark()
    latest = list(islice(found, limit or None))[::-1]
    reopen = partial(common.open_view, config)
    follow(screen, view, wanted, mark=mark, latest=latest, as_json=as_json, reopen=reopen)
