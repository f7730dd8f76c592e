"""`server-tracing trace ID`."""

from __future__ import annotations

from itertools import islice

import click

from server_tracing.config import Config
from server_tracing.record import Request
from server_tracing.store import Filter, StoreError
from server_tracing.viewer.filters import trace_prefix
from server_tracing.viewer.human import plural
from server_tracing.viewer.screen import Screen
from server_tracing.viewer.trace import show

from . import common
from .live import running

MOST = 500  # requests of one trace


@click.command()
@click.argument("trace_id", metavar="ID")
@common.as_json
@common.state_dir
def command(*, trace_id: str, as_json: bool, state_dir: str | None) -> int:
    """One trace: its requests and spans as a waterfall, exceptions, stacks, annotations.

    ID is a trace id or how it begins, as `requests` shows it, or as X-Ray writes it.
    """
    prefix = common.usage(lambda: trace_prefix(trace_id))
    config = common.settings(state_dir).config
    screen = Screen.standard()
    found = _found(config, prefix)
    traces = sorted({request.trace_id for request in found})
    if not traces:
        screen.remark(f"No trace begins with {prefix}.")
        return common.NOTHING
    if len(traces) > 1:
        screen.remark(_ambiguous(prefix, traces))
        return common.NOTHING
    show(screen, found, as_json=as_json, now=common.now())
    return common.OK


def _found(config: Config, prefix: str) -> list[Request]:
    wanted = Filter(trace=prefix)
    live = [request for request in running(config) if wanted.matches(request)]
    try:
        return live + list(islice(common.open_view(config).query(wanted), MOST))
    except StoreError:
        if not live:
            raise
        return live


def _ambiguous(prefix: str, traces: list[str]) -> str:
    shown = "".join(f"\n  {trace}" for trace in traces[:10])
    return f"{plural(len(traces), 'trace')} begin with {prefix}:{shown}"
