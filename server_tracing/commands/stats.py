"""`server-tracing stats`."""

from __future__ import annotations

from datetime import datetime

import click

from server_tracing.store import Filter
from server_tracing.viewer.filters import moment
from server_tracing.viewer.screen import Screen
from server_tracing.viewer.stats import show

from . import common


@click.command()
@common.since
@common.service
@common.route
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=0),
    default=40,
    help="At most N routes, 0 for all; default 40.",
)
@common.as_json
@common.state_dir
def command(*, since: str, service: str, route: str, limit: int, as_json: bool, state_dir: str | None) -> int:
    """Per route: count, rate, share of errors, percentiles.

    Counts are exact whatever is sampled; percentiles are within 5 %. WebSockets, event streams and killed
    requests count, but not in percentiles. --since is to the minute; without it, the last 24 hours at most.
    """
    now = common.now()
    start = common.usage(lambda: moment(since or "24h", now)).replace(second=0, microsecond=0)
    config = common.settings(state_dir).config
    view = common.open_view(config)
    counted = view.stats(Filter(since=start, service=service, route=route))
    screen = Screen.standard()
    if not counted:
        screen.remark("No request was counted in that time.")
        return common.NOTHING
    show(screen, counted, since=_from(start, view.counted_since()), now=now, limit=limit, as_json=as_json)
    return common.OK


def _from(start: datetime, oldest: datetime | None) -> datetime:
    """Rates are per time in which something could be counted."""
    return max(start, oldest) if oldest else start
