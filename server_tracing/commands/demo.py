"""`server-tracing demo`."""

from __future__ import annotations

import click


@click.command()
@click.option("--keep", is_flag=True, help="Leave the shop running.")
def command(*, keep: bool) -> int:
    """A small shop under gunicorn with traffic, faults and a killed worker, and the tables that show it."""
    from server_tracing.demo import run

    return run(keep)
