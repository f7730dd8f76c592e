"""What commands share: the options that several have, and the settings that hold for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

import click

from server_tracing.config import Config, ConfigError, Loaded, load, resolve_state_dir
from server_tracing.journal.journals import Journals
from server_tracing.statedir import StateDirError, user_name
from server_tracing.store import FILE, StoreError, View

Chosen = TypeVar("Chosen")

OK, NOTHING = 0, 1
WAITING = (
    "There is no store in {} yet: what was recorded waits in journals. "
    "`server-tracing health` shows how much, `server-tracing doctor` what may be wrong."
)

state_dir = click.option(
    "--state-dir", metavar="DIR", help="Where the servers keep their state; default: as the settings say."
)
as_json = click.option("--json", "as_json", is_flag=True, help="JSON lines, for programs.")
since = click.option("--since", metavar="WHEN", default="", help="10m, 2h, 12:00 or 2026-03-01T12:00:00Z.")
service = click.option("--service", metavar="NAME", default="", help="Only this service.")
route = click.option("--route", metavar="ROUTE", default="", help="Only this route; * and ? match anything.")


def settings(state_dir: str | None) -> Loaded:
    """The settings as a server started here would have them; for a directory that is named, any will do."""
    try:
        return load(arguments={"state_dir": state_dir} if state_dir else None)
    except ConfigError:
        if not state_dir:
            raise
        return Loaded(Config(state_dir=resolve_state_dir(os.environ, state_dir)), {}, [])


def become_owner(state_dir: str) -> None:
    """As root, start again as the owner of the state: files that root made in it would lock servers out.
    Anybody else can be nobody but himself.

    Not without a new start: an interpreter below /root, say, could not import what it needs any more, and
    records would be dropped for want of an exporter.
    """
    uid = owner(state_dir)
    if uid in (None, os.geteuid()):
        return
    if os.geteuid() != 0:
        name = user_name(uid)
        raise StateDirError(f"{state_dir} belongs to {name}: run this as {name}.")
    os.setgroups([])
    os.setgid(os.stat(state_dir).st_gid)
    os.setuid(uid)
    command = [sys.executable, "-m", "server_tracing.cli", *sys.argv[1:]]
    try:
        os.execve(sys.executable, command, {**os.environ, "SERVER_TRACING_DIR": state_dir})  # noqa: S606
    except OSError as error:
        raise StateDirError(
            f"{state_dir} belongs to {user_name(uid)}, who cannot run {sys.executable} ({error.strerror}): "
            f"run this as {user_name(uid)}, with a Python of that user."
        ) from None


@contextmanager
def as_owner(state_dir: str) -> Iterator[None]:
    """As root, open the owner's files with the owner's rights: links left among them lead root nowhere."""
    uid = owner(state_dir)
    if os.geteuid() != 0 or not uid:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(os.stat(state_dir).st_gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def owner(state_dir: str) -> int | None:
    """Whose state it is; None if there is none."""
    try:
        return os.stat(state_dir).st_uid
    except OSError:
        return None


def journals_of(config: Config) -> Journals:
    """Whoever's they are: root may look at anybody's."""
    return Journals.of(config, config.service, owner(config.state_dir))


def store_path(config: Config) -> str:
    return os.path.join(config.state_dir, FILE)


def open_view(config: Config) -> View:
    """The store of a state directory; closed when the command ends; a StoreError says why not."""
    with as_owner(config.state_dir):
        try:
            view = View.open(store_path(config))
        except StoreError as error:
            if error.reason == "missing" and any(True for _ in journals_of(config).look()):
                raise StoreError(WAITING.format(config.state_dir), "missing") from None
            raise
    context = click.get_current_context(silent=True)
    if context is not None:
        context.call_on_close(view.close)
    return view


def usage(choose: Callable[[], Chosen]) -> Chosen:
    """What `choose` makes of options; its ValueError is a mistake of whoever typed them."""
    try:
        return choose()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def now() -> datetime:
    return datetime.now().astimezone()
