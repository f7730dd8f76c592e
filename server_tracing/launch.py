"""`server-tracing run COMMAND`: puts the door of its server into a command line, then becomes that command.

The process is replaced (`exec`), so signals, the pid and the exit code are the server's own. The command
line is read by the server's own parser; one that it refuses is passed on untouched, for the server to say
what is wrong with it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from server_tracing.units import switch

GUNICORN_DOOR = "python:server_tracing.gunicorn"
UVICORN_DOOR = "server_tracing.uvicorn:create_app"
SERVER = re.compile(r"(gunicorn|uvicorn)[-.0-9]*(\.py)?$")  # Debian's gunicorn3, pip's uvicorn-3.12
PYTHON = re.compile(r"(python|pypy)[0-9.]*$")


class LaunchError(Exception):
    """One sentence for whoever typed the command; `code` is the exit code that goes with it."""

    def __init__(self, sentence: str, code: int = 2) -> None:
        super().__init__(sentence)
        self.code = code


class Launch(NamedTuple):
    """What will be executed: the command line, and the variables added to the environment."""

    argv: list[str]
    variables: dict[str, str]


def run(command: Sequence[str]) -> NoReturn:
    """Become `command`, recorded; a LaunchError when that cannot be."""
    launch = prepare(command)
    try:
        os.execvpe(launch.argv[0], launch.argv, {**os.environ, **launch.variables})  # noqa: S606
    except OSError as error:
        raise LaunchError(f"cannot start {launch.argv[0]!r}: {error.strerror}", code=1) from None


def prepare(command: Sequence[str]) -> Launch:
    """What will be executed for this command line and the variables set now."""
    argv = list(command)
    if not argv:
        raise LaunchError("say what to run: server-tracing run gunicorn ..., or uvicorn ...")
    if switched_off():
        return Launch(argv, {})
    server, first = find_server(argv)
    if server == "gunicorn":
        return behind_gunicorn(argv[:first], argv[first:])
    return behind_uvicorn(argv[:first], argv[first:])


def switched_off() -> bool:
    """Whether the environment forbids all of this; a value that means nothing is for the door to refuse."""
    with contextlib.suppress(ValueError):
        return not switch(os.environ.get("SERVER_TRACING_ENABLED") or True)
    return False


def find_server(argv: list[str]) -> tuple[str, int]:
    """Which server a command line starts, and where that server's own arguments begin."""
    first = 1
    name = os.path.basename(argv[0])
    if PYTHON.match(name):
        name, first = find_module(argv)
    if found := SERVER.match(name):
        return found[1], first
    raise LaunchError(
        f"server-tracing run starts gunicorn or uvicorn, and {shlex.join(argv[:first])!r} is neither: "
        "put it directly in front of the server's own command"
    )


def find_module(argv: list[str]) -> tuple[str, int]:
    """The module or script that `python ...` runs, and where its arguments begin."""
    words = iter(range(1, len(argv)))
    for at in words:
        word = argv[at]
        if word == "-m":
            return "".join(argv[at + 1 : at + 2]), at + 2
        if word.startswith("-m"):
            return word[2:], at + 1
        if word in ("-X", "-W", "--check-hash-based-pycs"):
            next(words, None)
        elif not word.startswith("-"):
            return os.path.basename(word), at + 1
        elif word == "-c":
            break
    return "", len(argv)


# ---------------------------------------------------------------- gunicorn


def behind_gunicorn(program: list[str], arguments: list[str]) -> Launch:
    """The same command with our `-c`; the configuration it had is loaded by the door."""
    inherited = shlex.split(os.environ.get("GUNICORN_CMD_ARGS", ""))
    given = read_gunicorn(arguments)
    own = given and (given.config or getattr(read_gunicorn(inherited), "config", None))
    if given is None or own == GUNICORN_DOOR:
        return Launch([*program, *arguments], {})
    end = arguments.index("--") if "--" in arguments else len(arguments)
    # Of several -c gunicorn takes the last, so everything else can stay as it is.
    argv = [*program, *arguments[:end], "-c", GUNICORN_DOOR, *arguments[end:]]
    return Launch(argv, {"SERVER_TRACING_GUNICORN_CONF": own} if own else {})


def read_gunicorn(arguments: list[str]) -> Any:
    """The arguments as gunicorn's parser reads them; None if it would stop here (an error, `--version`)."""
    with needs("gunicorn"):
        from gunicorn.config import Config
    silence = io.StringIO()
    try:
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            return Config().parser().parse_args(arguments)
    except SystemExit:
        return None


# ---------------------------------------------------------------- uvicorn


def behind_uvicorn(program: list[str], arguments: list[str]) -> Launch:
    """The same command with our factory in the place of the application, which the factory loads."""
    given = read_uvicorn(arguments)
    app = given.get("app")
    if not app or app == UVICORN_DOOR or str(given.get("http")).startswith("server_tracing."):
        return Launch([*program, *arguments], {})
    variables = {"SERVER_TRACING_APP": app}
    if given["factory"]:
        variables["SERVER_TRACING_APP_FACTORY"] = "1"
    at = position_of(app, arguments)
    kept = arguments if at is None else [*arguments[:at], *arguments[at + 1 :]]
    return Launch([*program, UVICORN_DOOR, "--factory", *kept], variables)


def position_of(app: str, arguments: list[str]) -> int | None:
    """Where the application stands, told from an option's value of the same text; None: in UVICORN_APP."""
    for at, word in enumerate(arguments):
        changed = [*arguments[:at], word + "?", *arguments[at + 1 :]]
        if word == app and read_uvicorn(changed).get("app") == word + "?":
            return at
    return None


def read_uvicorn(arguments: list[str]) -> dict[str, Any]:
    """The arguments, and UVICORN_* variables, as uvicorn's own parser reads them; None is what it refuses."""
    with needs("uvicorn"):
        from uvicorn.main import main
    params: dict[str, Any] = main.make_context("uvicorn", list(arguments), resilient_parsing=True).params
    return params


@contextlib.contextmanager
def needs(server: str) -> Any:
    """Turn a missing server into a sentence: it has to be importable where server_tracing is."""
    try:
        yield
    except ImportError:
        remedy = f"pip install 'server-tracing[{server}]'"
        raise LaunchError(f"{server} is not installed for {sys.executable}: {remedy}", code=1) from None
