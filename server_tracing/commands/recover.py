"""`server-tracing recover`."""

from __future__ import annotations

from contextlib import suppress

import click

from server_tracing.last_good import forget_the_dead
from server_tracing.viewer import lines
from server_tracing.viewer.human import plural, visible
from server_tracing.viewer.screen import Screen

from . import common


@click.command()
@common.as_json
@common.state_dir
def command(*, as_json: bool, state_dir: str | None) -> int:
    """Deliver now what dead workers left behind, with today's settings."""
    from server_tracing.export import recover

    loaded = common.settings(state_dir)
    common.become_owner(loaded.config.state_dir)
    summary = recover(loaded)
    with suppress(OSError):
        forget_the_dead(loaded.config.state_dir)
    screen = Screen.standard()
    if as_json:
        lines.write(screen, summary._asdict())
    else:
        _show(screen, summary.journals, summary.killed, summary.requests, summary.spooled)
        for exporter, trouble in summary.troubles.items():
            screen.line(f"{visible(exporter)}: {visible(trouble)}")
        if summary.left:
            screen.line(f"{plural(summary.left, 'journal')} could not be finished now.")
    screen.flush()
    failed = summary.left or summary.troubles or any(summary.spooled.values())
    return common.NOTHING if failed else common.OK


def _show(
    screen: Screen, journals: int, killed: int, requests: dict[str, int], spooled: dict[str, int]
) -> None:
    if not journals and not any(requests.values()):
        screen.line("Nothing was left behind.")
        return
    in_flight = f", {plural(killed, 'request')} in flight when their worker died" if killed else ""
    screen.line(f"{plural(journals, 'journal')} recovered{in_flight}.")
    for exporter, count in requests.items():
        waiting = f", {plural(spooled[exporter], 'record')} waiting on disk" if spooled.get(exporter) else ""
        screen.line(f"  {visible(exporter)}: {plural(count, 'request')} delivered{waiting}")
