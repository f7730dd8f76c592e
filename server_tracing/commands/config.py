"""`server-tracing config`."""

from __future__ import annotations

import click

from server_tracing.config import Loaded, check_whole, describe
from server_tracing.viewer import lines
from server_tracing.viewer.human import visible
from server_tracing.viewer.screen import Screen
from server_tracing.viewer.table import Cell, Column, Table

from . import common

UNSEEN = "What the application's own settings add is shown with --app module:name."


@click.command()
@click.option("--app", metavar="MODULE:NAME", help="Import this application; show what its settings add.")
@common.as_json
@common.state_dir
def command(*, as_json: bool, state_dir: str | None, app: str | None) -> int:
    """The settings in effect here, and where each comes from. Secrets are masked.

    What an application itself says to the X-Ray SDK (XRAY_RECORDER) and OpenCensus (OPENCENSUS) counts where
    nothing else is said. It is read where the application is loaded: here where --app names it or, for
    Django's settings alone, where DJANGO_SETTINGS_MODULE is set.
    """
    from server_tracing.config import load

    loaded = load(arguments={"state_dir": state_dir} if state_dir else None, completed_later=True)
    loaded, told, unseen = completed(loaded, app)
    check_whole(loaded)
    screen = Screen.standard()
    rows = [*describe(loaded), *told]
    if as_json:
        for key, value, source in rows:
            lines.write(screen, {"setting": key, "value": value, "source": source})
    else:
        columns = (Column("SETTING"), Column("FROM"), Column("VALUE"))
        Table(screen, columns, wraps=True).print(_row(*row) for row in rows)
    for warning in loaded.warnings:
        screen.remark(screen.style(visible(warning), "yellow"))
    if unseen and not as_json:
        screen.remark(UNSEEN)
    return common.OK


def completed(loaded: Loaded, app: str | None) -> tuple[Loaded, list[tuple[str, str, str]], bool]:
    """The settings with what the application adds, a row for each of its entries, and whether it was not
    asked though it might add some."""
    if {"xray", "azure"}.isdisjoint(loaded.config.exporters):
        return loaded, [], False
    from server_tracing.application import complete
    from server_tracing.application.importing import application, django_settings

    imported = application(app) if app else None
    known = django_settings() or imported is not None
    loaded, found = complete(loaded, imported)
    return loaded, [(entry.name, entry.fate, entry.where) for entry in found], not known


def _row(key: str, value: str, source: str) -> list[Cell]:
    styles = ("dim",) if source == "default" else ()
    return [Cell(key, styles), Cell(visible(source), styles or ("cyan",)), Cell(visible(value), styles)]
