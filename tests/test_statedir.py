"""Where state lives, and which directories are refused."""

import os
import pwd
import shutil
import stat
import tempfile

import pytest

from server_tracing.config import load
from server_tracing.statedir import StateDirError, choose_state_dir, ensure_private_dir, resolve_state_dir

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
NOBODY = 65534

# A fork beside xdist's threads: the child calls one function and leaves.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def room():
    """A directory that every user can reach, unlike pytest's own."""
    path = os.path.realpath(tempfile.mkdtemp(prefix="statedir-"))
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def as_user(uid, function, *args):
    """What `function` returns or how it fails, called in a child process of another user."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            told = str(function(*args))
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return told


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# ---------------------------------------------------------------- where


def test_the_order_of_places(room):
    """The explicit one, ours, XDG's, the user's; a relative XDG_STATE_HOME is none."""
    environ = {"SERVER_TRACING_DIR": f"{room}/ours", "XDG_STATE_HOME": f"{room}/xdg", "HOME": f"{room}/home"}
    assert resolve_state_dir(environ, f"{room}/explicit") == f"{room}/explicit"
    assert resolve_state_dir(environ) == f"{room}/ours"
    del environ["SERVER_TRACING_DIR"]
    assert resolve_state_dir(environ) == f"{room}/xdg/server-tracing"
    environ["XDG_STATE_HOME"] = "relative"
    home = "/var/lib" if os.geteuid() == 0 else f"{room}/home/.local/state"
    assert resolve_state_dir(environ) == f"{home}/server-tracing"


@as_root
def test_the_home_a_worker_has_from_root_is_not_its_own(room, monkeypatch):
    """After setuid $HOME still is root's: the user's own counts, as it will for the commands they type."""
    os.makedirs(f"{room}/root", 0o700)
    os.mkdir(f"{room}/own")
    os.chown(f"{room}/own", NOBODY, NOBODY)
    entry = pwd.struct_passwd(("nobody", "x", NOBODY, NOBODY, "", f"{room}/own", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry)
    home = as_user(NOBODY, resolve_state_dir, {"HOME": f"{room}/root"})
    assert home == f"{room}/own/.local/state/server-tracing"


@as_root
def test_another_user_has_their_own_place(room):
    """~/.local/state; without a usable home a folder of their own in the temporary directory."""
    os.mkdir(f"{room}/home")
    os.chown(f"{room}/home", NOBODY, NOBODY)
    home = as_user(NOBODY, resolve_state_dir, {"HOME": f"{room}/home"})
    assert home == f"{room}/home/.local/state/server-tracing"
    homeless = as_user(NOBODY, resolve_state_dir, {"HOME": "/nonexistent", "TMPDIR": room})
    assert homeless == f"{room}/server-tracing-{NOBODY}"


def test_home_and_relative_paths_are_resolved(room, monkeypatch):
    """`~` is $HOME; a relative path starts at the working directory."""
    monkeypatch.chdir(room)
    assert resolve_state_dir({"HOME": room, "SERVER_TRACING_DIR": "~/x"}) == f"{room}/x"
    assert resolve_state_dir({"SERVER_TRACING_DIR": "x/../y"}) == f"{room}/y"


@pytest.mark.parametrize(
    "spoil", ["file", "symlink", "writable", "parent", pytest.param("owner", marks=as_root)]
)
def test_a_usual_place_that_will_not_do_is_left_with_a_note(room, spoil):
    """A file, a link, everybody's or somebody else's directory: the temporary folder, and a warning."""
    usual = f"{room}/xdg/server-tracing"
    if spoil == "parent":
        open(f"{room}/xdg", "w").close()
    else:
        os.makedirs(usual)
    if spoil in ("file", "symlink"):
        os.rmdir(usual)
    if spoil == "file":
        open(usual, "w").close()
    if spoil == "symlink":
        os.symlink(room, usual)
    if spoil == "writable":
        os.chmod(usual, 0o777)
    if spoil == "owner":
        os.chown(usual, NOBODY, NOBODY)
    environ = {"XDG_STATE_HOME": f"{room}/xdg", "TMPDIR": room, "HOME": room}
    chosen = choose_state_dir(environ)
    assert chosen.path == f"{room}/server-tracing-{os.geteuid()}"
    assert usual in chosen.note
    assert load(environ, room).warnings == [chosen.note]


def test_a_home_whose_name_is_not_utf_8_is_left_with_a_note(room):
    """The name stands in journals and records."""
    chosen = choose_state_dir(
        {"HOME": f"{room}/caf\udce9", "XDG_STATE_HOME": f"{room}/\udce9", "TMPDIR": room}
    )
    assert chosen.path == f"{room}/server-tracing-{os.geteuid()}"
    assert chosen.note.startswith(f"{room}/\\udce9/server-tracing is not UTF-8: state goes to ")


def test_looking_for_the_place_makes_nothing(room):
    """A command that only asks leaves no trace."""
    resolve_state_dir({"XDG_STATE_HOME": f"{room}/xdg", "HOME": room})
    assert os.listdir(room) == []


# ---------------------------------------------------------------- making it


def test_a_new_directory_is_private_whatever_the_umask(room):
    """0700, and what is missing above it is made too."""
    old = os.umask(0)
    try:
        ensure_private_dir(f"{room}/a/b/state")
    finally:
        os.umask(old)
    assert mode(f"{room}/a/b/state") == 0o700
    assert mode(f"{room}/a/b") == 0o755
    ensure_private_dir(f"{room}/a/b/state")


def test_an_existing_directory_of_ours_is_used_as_it_is(room):
    """Somebody chose its mode; as long as nobody else can write to it, that is theirs to choose."""
    os.mkdir(f"{room}/state", 0o750)
    os.chmod(f"{room}/state", 0o750)
    ensure_private_dir(f"{room}/state")
    assert mode(f"{room}/state") == 0o750


def refusal(path, *args):
    with pytest.raises(StateDirError) as caught:
        ensure_private_dir(path, *args)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_file_is_refused(room):
    """With the remedy."""
    open(f"{room}/state", "w").close()
    assert refusal(f"{room}/state") == (
        f"{room}/state is a file, not a directory: remove it or name another directory"
    )


def test_a_file_above_it_is_refused(room):
    """Nothing can be made below a file."""
    open(f"{room}/file", "w").close()
    assert f"{room}/file/state cannot be made" in refusal(f"{room}/file/state")


@pytest.mark.parametrize("target", ["real", "missing", "."])
def test_a_symbolic_link_is_refused(room, target):
    """Whoever made the link could have made it lead anywhere, also to nowhere yet."""
    os.mkdir(f"{room}/real")
    os.symlink(target, f"{room}/state")
    assert f"{room}/state is a symbolic link to {room}" in refusal(f"{room}/state")
    assert os.listdir(f"{room}/real") == []


def test_links_above_it_are_followed(room):
    """/var/run has been one for years."""
    os.mkdir(f"{room}/real")
    os.symlink("real", f"{room}/link")
    ensure_private_dir(f"{room}/link/state")
    assert mode(f"{room}/real/state") == 0o700


@pytest.mark.parametrize("bits", [0o777, 0o1777, 0o770])
def test_a_directory_others_can_write_to_is_refused_and_left_alone(room, bits):
    """/tmp itself is no private directory, and must never be made one."""
    os.mkdir(f"{room}/state")
    os.chmod(f"{room}/state", bits)
    assert f"(mode {bits:04o}): name a directory inside it" in refusal(f"{room}/state")
    assert mode(f"{room}/state") == bits


@pytest.mark.parametrize("path", ["/", "/dev/null/x", "/proc/nothing/x"])
def test_places_that_cannot_be_are_refused(path):
    """One clear sentence each."""
    assert refusal(path).startswith(path)


def test_control_characters_in_a_path_are_spelt_out(room):
    """The sentence goes to a terminal."""
    open(f"{room}/\x1b[31m", "w").close()
    assert "\\x1b[31m is a file" in refusal(f"{room}/\x1b[31m")


@as_root
def test_somebody_elses_directory_is_refused_with_owner_and_remedy(room):
    """Both ways: the child's by root, root's by the child."""
    os.mkdir(f"{room}/theirs", 0o700)
    os.chown(f"{room}/theirs", 12345, 12345)
    assert refusal(f"{room}/theirs") == (
        f"{room}/theirs belongs to user 12345, not to root: "
        f"`chown -R root {room}/theirs`, or name another directory"
    )
    os.mkdir(f"{room}/ours", 0o755)
    assert "StateDirError" in as_user(NOBODY, ensure_private_dir, f"{room}/ours")
    assert "belongs to root" in as_user(NOBODY, ensure_private_dir, f"{room}/ours")


@as_root
def test_a_read_only_directory_is_refused(room):
    """To root nothing is read-only but a file system; to others a mode is enough."""
    os.mkdir(f"{room}/state", 0o500)
    os.chown(f"{room}/state", NOBODY, NOBODY)
    os.mkdir(f"{room}/above", 0o755)
    told = as_user(NOBODY, ensure_private_dir, f"{room}/state")
    assert f"{room}/state cannot be written to by nobody" in told
    assert "Permission denied" in as_user(NOBODY, ensure_private_dir, f"{room}/above/state")


@as_root
def test_root_makes_the_directory_for_the_workers_user(room):
    """A master that will change user hands over what it makes, and an empty one of its own."""
    ensure_private_dir(f"{room}/new", NOBODY, NOBODY)
    os.mkdir(f"{room}/empty", 0o755)
    ensure_private_dir(f"{room}/empty", NOBODY)
    for path in (f"{room}/new", f"{room}/empty"):
        assert (os.stat(path).st_uid, mode(path)) == (NOBODY, 0o700)
        assert as_user(NOBODY, ensure_private_dir, path) == "None"


@as_root
def test_root_does_not_hand_over_what_is_in_use(room):
    """State of an earlier start as root is not for another user to read."""
    os.mkdir(f"{room}/used", 0o700)
    open(f"{room}/used/store", "w").close()
    assert "`chown -R nobody" in refusal(f"{room}/used", NOBODY)
    assert os.stat(f"{room}/used").st_uid == 0


@as_root
def test_a_link_planted_by_the_workers_user_is_not_handed_over(room):
    """Following it would give away whatever it leads to."""
    os.mkdir(f"{room}/secret", 0o700)
    os.symlink("secret", f"{room}/state")
    assert "is a symbolic link" in refusal(f"{room}/state", NOBODY)
    assert os.stat(f"{room}/secret").st_uid == 0
