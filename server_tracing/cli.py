"""`server-tracing ...`: which commands there are, and how every one of them ends.

A command's module is imported when it is typed, so that `--help` costs nothing but click. Exit codes: 0 it
is so, 1 there is nothing or it failed, 2 it was typed or set wrongly. What a person can get wrong ends in
one sentence on standard error; a traceback is printed only where SERVER_TRACING_DEBUG asks for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

DEBUG = "SERVER_TRACING_DEBUG"
COMMANDS = {  # name: what it is for; the module of the same name in commands/ does it
    "requests": "requests, the newest first",
    "trace": "one trace: waterfall, exception, stack",
    "stats": "per route: count, rate, errors, percentiles",
    "health": "does every request add up, and who is alive",
    "recover": "deliver what dead workers left behind",
    "config": "the settings in effect, and where each comes from",
    "doctor": "check settings, directories, and each backend with a test record",
    "run": "run a gunicorn or uvicorn command line with tracing on",
    "demo": "a small shop under gunicorn, and a bad day in it",
}


class Commands(click.Group):
    """Commands that are imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"server_tracing.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="server-tracing", message="%(prog)s %(version)s")
def group() -> None:
    """The flight recorder of this machine's gunicorn and uvicorn: what it saw, and how it is.

    To switch it on: gunicorn -c python:server_tracing.gunicorn shop:app, or server-tracing run COMMAND.
    """


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # not a text stream of Python's own
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _nobody_reads()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last place where a person can be told in words
        return _failed(error)


def _run(arguments: list[str]) -> int:
    """click's own `main` would end a broken pipe with 1 and an interruption with an empty line."""
    try:
        with group.make_context("server-tracing", list(arguments)) as context:
            code = group.invoke(context)
    except click.exceptions.Exit as done:  # --help, --version
        return done.exit_code
    return code if isinstance(code, int) else 0


def _nobody_reads() -> int:
    """`| head` has seen enough; Python must not complain of it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _failed(error: Exception) -> int:
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exc()
        return 1
    from server_tracing.units import printable

    sentence, code = _explained(error)
    click.echo(f"server-tracing: {printable(sentence)}", err=True)
    return code


def _explained(error: Exception) -> tuple[str, int]:
    """One sentence and an exit code."""
    from server_tracing.config import ConfigError
    from server_tracing.statedir import StateDirError

    if isinstance(error, ConfigError):
        return str(error), 2
    if isinstance(error, StateDirError):  # root may have become somebody who can import nothing
        return str(error), 1
    from server_tracing.launch import LaunchError
    from server_tracing.store import StoreError

    if isinstance(error, LaunchError):
        return f"{error}.", error.code
    if isinstance(error, StoreError):
        return str(error), 1
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the system'}: {error.strerror}.", 1
    return f"{type(error).__name__}: {error} ({DEBUG}=1 shows where)", 1


if __name__ == "__main__":
    sys.exit(main())
