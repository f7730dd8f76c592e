"""`server-tracing config`."""

from __future__ import annotations

import click

from server_tracing.config import describe
from server_tracing.viewer import lines
from server_tracing.viewer.human import visible
from server_tracing.viewer.screen import Screen
from server_tracing.viewer.table import Cell, Column, Table

from . import common


@click.command()
@common.as_json
@common.state_dir
def command(*, as_json: bool, state_dir: str | None) -> int:
    """The settings in effect here, and where each comes from. Secrets are masked."""
    from server_tracing.config import load

    loaded = load(arguments={"state_dir": state_dir} if state_dir else None)
    screen = Screen.standard()
    rows = describe(loaded)
    if as_json:
        for key, value, source in rows:
            lines.write(screen, {"setting": key, "value": value, "source": source})
    else:
        columns = (Column("SETTING"), Column("FROM"), Column("VALUE"))
        Table(screen, columns, wraps=True).print(_row(*row) for row in rows)
    for warning in loaded.warnings:
        screen.remark(screen.style(visible(warning), "yellow"))
    return common.OK


def _row(key: str, value: str, source: str) -> list[Cell]:
    styles = ("dim",) if source == "default" else ()
    return [Cell(key, styles), Cell(visible(source), styles or ("cyan",)), Cell(visible(value), styles)]
