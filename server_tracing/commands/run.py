"""`server-tracing run COMMAND...`."""

from __future__ import annotations

from typing import NoReturn

import click

from server_tracing.launch import run


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command_line", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(*, command_line: tuple[str, ...]) -> NoReturn:
    """Run a gunicorn or uvicorn command line, unchanged, with tracing on.

    \b
    server-tracing run gunicorn -w 4 shop:app
    server-tracing run uvicorn --port 8000 shop:app
    """
    run(command_line)
