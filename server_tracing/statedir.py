"""Where state lives, and how a private directory is made or refused.

`resolve_state_dir` is the one resolver for servers and commands; it only looks. `ensure_private_dir` makes
a directory, or raises a `StateDirError` that names the path, what is wrong with it and the remedy.
It never changes a directory it did not make, and follows no symbolic link in the last component.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from server_tracing.units import is_unicode, printable

NAME = "server-tracing"
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class StateDirError(Exception):
    """A directory that cannot hold state; `str()` is the one clear sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


class StateDir(NamedTuple):
    """The chosen path; `note` says why it is not the usual one."""

    path: str
    note: str = ""


def resolve_state_dir(environ: Mapping[str, str], explicit: str | None = None) -> str:
    """`explicit`, else `$SERVER_TRACING_DIR`, else the usual place of this user, else a temporary one."""
    return choose_state_dir(environ, explicit).path


def choose_state_dir(environ: Mapping[str, str], explicit: str | None = None) -> StateDir:
    """As `resolve_state_dir`, with the reason when the usual place will not do."""
    named = explicit or environ.get("SERVER_TRACING_DIR", "").strip()
    if named:
        return StateDir(absolute(named, environ))
    usual = _usual(environ)
    problem = _problem(usual) if usual else "this user has no home directory"
    if not problem:
        return StateDir(usual)
    temporary = os.path.join(_temporary(environ), f"{NAME}-{os.geteuid()}")
    return StateDir(
        temporary, f"{problem}: state goes to {temporary}, unless SERVER_TRACING_DIR names a place."
    )


def absolute(path: str, environ: Mapping[str, str], base: str = "") -> str:
    """`path` with `~` and relative parts resolved, symbolic links left alone."""
    if path == "~" or path.startswith("~/"):
        path = _home(environ) + path[1:]
    return os.path.abspath(os.path.join(base, path))


def ensure_private_dir(path: str, uid: int | None = None, gid: int | None = None) -> None:
    """Have a directory that only `uid` (default: this process's user) can use, or say why not."""
    owner = os.geteuid() if uid is None else uid
    try:
        _ensure(os.path.abspath(path), owner, -1 if gid is None else gid)
    except OSError as error:
        raise StateDirError(_sentence(path, owner, error)) from error


def is_private(path: str, uid: int) -> bool:
    """Is it a directory that only `uid` can write to? Whoever looks for files in it must know."""
    try:
        info = os.lstat(path)
    except OSError:
        return False
    shared = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(info.st_mode) and info.st_uid == uid and not shared


def _ensure(path: str, owner: int, group: int) -> None:
    above, name = os.path.split(path)
    if not name:
        raise StateDirError(f"{path} cannot hold state: name a directory inside it")
    os.makedirs(above, mode=0o755, exist_ok=True)
    parent = os.open(above, OPEN_DIRECTORY)
    try:
        made = _make(name, parent)
        directory = os.open(name, OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    finally:
        os.close(parent)
    try:
        _hand_over(directory, owner, group, made)
        _check(path, directory, owner)
    finally:
        os.close(directory)


def _make(name: str, parent: int) -> bool:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def _hand_over(directory: int, owner: int, group: int, made: bool) -> None:
    """Give what is ours and empty to `owner`: a first start as root, before the workers change user."""
    mine = os.fstat(directory).st_uid == os.geteuid()
    if owner != os.geteuid() and mine and (made or not os.listdir(directory)):
        os.fchown(directory, owner, group)
        os.fchmod(directory, 0o700)
    elif made:
        os.fchmod(directory, 0o700)  # whatever the umask


def _check(path: str, directory: int, owner: int) -> None:
    info = os.fstat(directory)
    if info.st_uid != owner:
        raise StateDirError(
            f"{path} belongs to {user_name(info.st_uid)}, not to {user_name(owner)}: "
            f"`chown -R {user_name(owner)} {path}`, or name another directory"
        )
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateDirError(
            f"{path} can be written by other users (mode {stat.S_IMODE(info.st_mode):04o}): "
            "name a directory inside it, or `chmod go-w` it"
        )
    if owner == os.geteuid() and not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
        raise OSError(errno.EACCES, "read-only")


def _sentence(path: str, owner: int, error: OSError) -> str:
    remedy = f"name a directory that {user_name(owner)} can write to"
    if os.path.islink(path):
        return f"{path} is a symbolic link to {os.path.realpath(path)}: name the real directory"
    if os.path.lexists(path) and not os.path.isdir(path):
        return f"{path} is a file, not a directory: remove it or name another directory"
    if os.path.isdir(path):
        return f"{path} cannot be written to by {user_name(os.geteuid())}: {remedy}"
    return f"{path} cannot be made ({error.strerror}): {remedy}"


def _problem(path: str) -> str:
    """Why a default place will not do; an empty text if it will."""
    if not is_unicode(path):
        return f"{printable(path)} is not UTF-8"
    try:
        info = os.lstat(path)
    except OSError:
        return _cannot_make(path)
    if not stat.S_ISDIR(info.st_mode):
        return f"{path} is not a directory"
    if info.st_uid != os.geteuid():
        return f"{path} belongs to {user_name(info.st_uid)}"
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by other users"
    return "" if _writable(path) else f"{path} is read-only"


def _cannot_make(path: str) -> str:
    above = os.path.dirname(path)
    while not os.path.lexists(above) and above != "/":
        above = os.path.dirname(above)
    return "" if os.path.isdir(above) and _writable(above) else f"{path} cannot be made"


def _writable(path: str) -> bool:
    return os.access(path, os.W_OK | os.X_OK, effective_ids=True)


def _usual(environ: Mapping[str, str]) -> str:
    xdg = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(xdg):  # the XDG base directory specification has relative ones ignored
        return os.path.join(xdg, NAME)
    if os.geteuid() == 0:
        return f"/var/lib/{NAME}"
    home = _home(environ)
    if not _writable(home):  # a worker that was started by root still has root's
        home = _home({})
    return os.path.join(home, ".local", "state", NAME) if home else ""


def _home(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    if os.path.isabs(home):
        return home
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container's arbitrary uid
        return ""


def _temporary(environ: Mapping[str, str]) -> str:
    """`$TMPDIR` or /tmp: importing `tempfile` costs a door 10 ms."""
    named = environ.get("TMPDIR", "")
    return named if os.path.isabs(named) and os.path.isdir(named) else "/tmp"  # noqa: S108 - made private


def user_name(uid: int) -> str:
    """A user as people know them."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
