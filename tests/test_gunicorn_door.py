"""The gunicorn door: the configuration gunicorn reads through it is the user's own, with us in it."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.config import Config

from server_tracing import gunicorn as door
from server_tracing import gunicorn_workers
from server_tracing.capture import gunicorn_lifecycle as lifecycle
from server_tracing.capture.gunicorn_reasons import EXIT, ROOM, SIGNAL, TIMEOUT, Reasons, watch_deaths

DOOR = "python:server_tracing.gunicorn"
TRACING = Path(__file__).parents[1] / "gunicorn_conf" / "tracing.py"


@pytest.fixture(autouse=True)
def fresh_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a start of its own, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gunicorn.config.Chdir.default", str(tmp_path))
    monkeypatch.setattr(gunicorn_workers, "_master", None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("SERVER_TRACING_GUNICORN_CONF", raising=False)


def started(*arguments: str) -> WSGIApplication:
    """gunicorn as it is after it has read its configuration."""
    sys.argv = ["gunicorn", *(arguments or ("-c", DOOR, "shop:app"))]
    return WSGIApplication("%(prog)s")


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gunicorn"])


def configure(text: str, name: str = "gunicorn.conf.py") -> None:
    Path(name).write_text(text)


def test_the_default_configuration_file_is_read() -> None:
    """As gunicorn would have read it without `-c`: values, lists, callables, environment."""
    configure(
        "workers = 3\n"
        "bind = ['127.0.0.1:1', '127.0.0.1:2']\n"
        "raw_env = ['A=1']\n"
        "wsgi_app = 'other:app'\n"
        "def when_ready(server):\n    pass\n"
    )
    app = started("-c", DOOR)
    assert (app.cfg.workers, app.cfg.bind, app.cfg.env) == (3, ["127.0.0.1:1", "127.0.0.1:2"], {"A": "1"})
    assert app.app_uri == "other:app"
    assert app.cfg.when_ready.__module__ == "__config__"


@pytest.mark.parametrize("location", ["own.py", "file:own.py", "python:own_module"])
def test_another_configuration_can_be_named(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every form that gunicorn's `-c` takes."""
    configure("workers = 5\n", "own.py")
    configure("workers = 5\n", "own_module.py")
    monkeypatch.setenv("SERVER_TRACING_GUNICORN_CONF", location)
    try:
        assert started().cfg.workers == 5
    finally:
        sys.modules.pop("own_module", None)


def test_without_a_configuration_there_is_nothing_but_our_hooks() -> None:
    """Two, and no setting besides."""
    known = Config().settings
    assert {name for name in vars(door) if name in known} == {"on_starting", "on_reload"}


def test_no_name_in_the_door_is_a_setting_of_gunicorns() -> None:
    """`config` is one, for example: whoever reads the module's real globals must find none."""
    assert door.install.__globals__.keys().isdisjoint(Config().settings)


def test_the_command_line_still_beats_the_configuration() -> None:
    """As without the door."""
    configure("workers = 3\n")
    assert started("-c", DOOR, "-w", "7", "shop:app").cfg.workers == 7


def test_a_reload_reads_the_edited_file() -> None:
    """gunicorn imports a `python:` module once; the door is read anew all the same."""
    configure("workers = 2\n")
    app = started()
    configure("workers = 4  # of another size: a compiled file is known by that and by whole seconds\n")
    app.reload()
    assert app.cfg.workers == 4


def test_the_file_in_a_clone_does_the_same() -> None:
    """`-c gunicorn_conf/tracing.py` reads the user's file, too."""
    configure("workers = 6\n")
    app = started("-c", str(TRACING), "shop:app")
    assert app.cfg.workers == 6
    assert app.cfg.on_starting.__module__.startswith("server_tracing.")


def test_a_syntax_error_is_told_as_gunicorn_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Which file, where, and the end."""
    configure("workers = = 2\n")
    with pytest.raises(SystemExit) as ended:
        started()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Failed to read config file" in said
    assert "SyntaxError" in said


def test_a_missing_file_is_told_as_gunicorn_tells_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence."""
    monkeypatch.setenv("SERVER_TRACING_GUNICORN_CONF", "nowhere.py")
    with pytest.raises(SystemExit):
        started()
    assert "'nowhere.py' doesn't exist" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["post_fork = 'no such thing'\n", "on_starting = 5\n"])
def test_a_bad_hook_is_told_as_gunicorn_tells_it(broken: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one of those that we chain."""
    configure(broken)
    with pytest.raises(SystemExit):
        started()
    assert "Error: " in capsys.readouterr().err


def test_an_attribute_error_in_a_module_is_not_taken_for_a_missing_module_dict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `vars` makes of one would hide the user's mistake."""
    configure("raise AttributeError('mine')\n", "raising_module.py")
    monkeypatch.setenv("SERVER_TRACING_GUNICORN_CONF", "python:raising_module")
    with pytest.raises(SystemExit):
        started()
    assert "Error: mine" in capsys.readouterr().err


def test_importing_the_door_reads_no_configuration() -> None:
    """A configuration file imports it for `install`."""
    configure("raise SystemExit('read')\n")
    importlib.import_module("server_tracing.gunicorn")


def test_install_adds_itself_once() -> None:
    """A file that installs us may be loaded through the door as well."""
    configure("from server_tracing.gunicorn import install\ninstall(globals())\n")
    namespace = door.configuration()
    before = namespace["on_starting"]
    door.install(namespace)
    assert namespace["on_starting"] is before


def test_the_switch_leaves_the_configuration_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by the environment, nothing of ours is in it, and reloads still work."""
    configure("workers = 2\n")
    monkeypatch.setenv("SERVER_TRACING_ENABLED", "0")
    app = started()
    plain = Config()
    assert app.cfg.on_starting is plain.on_starting
    assert app.cfg.on_reload is plain.on_reload
    configure("workers = 3  # of another size\n")
    app.reload()
    assert app.cfg.workers == 3


# ---------------------------------------------------------------- in the master


class Log:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str, *values: object) -> None:
        self.warnings.append(text % values)

    error = warning


def arbiter(app: WSGIApplication) -> SimpleNamespace:
    return SimpleNamespace(cfg=app.cfg, log=Log(), pidfile=None, WORKERS={}, reap_workers=lambda: None)


def test_a_wrong_setting_stops_the_first_start_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn prints a RuntimeError of its master without a traceback, and ends."""
    monkeypatch.setenv("SERVER_TRACING_SAMPLING_RATE", "often")
    app = started()
    with pytest.raises(RuntimeError, match="SERVER_TRACING_SAMPLING_RATE"):
        app.cfg.on_starting(arbiter(app))


def test_a_start_that_is_refused_leaves_no_pidfile(monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn has written it by then."""
    monkeypatch.setenv("SERVER_TRACING_SAMPLING_RATE", "often")
    app = started()
    master = arbiter(app)
    unlinked: list[int] = []
    master.pidfile = SimpleNamespace(unlink=lambda: unlinked.append(1))
    with pytest.raises(RuntimeError):
        app.cfg.on_starting(master)
    assert unlinked == [1]


def test_a_wrong_setting_at_a_reload_keeps_the_last_good_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the master says so."""
    app = started()
    master = arbiter(app)
    app.cfg.on_starting(master)
    assert gunicorn_workers._master is not None
    good = gunicorn_workers._master.loaded
    monkeypatch.setenv("SERVER_TRACING_SAMPLING_RATE", "often")
    app.reload()
    master.cfg = app.cfg
    app.cfg.on_reload(master)
    assert gunicorn_workers._master.loaded is good
    assert "SERVER_TRACING_SAMPLING_RATE" in master.log.warnings[0]
    assert "stay" in master.log.warnings[0]


def test_users_hooks_run_before_ours_and_may_fail() -> None:
    """What theirs raise reaches gunicorn as without us."""
    configure("def on_starting(server):\n    raise LookupError('theirs')\n")
    app = started()
    with pytest.raises(LookupError, match="theirs"):
        app.cfg.on_starting(arbiter(app))
    assert gunicorn_workers._master is None


def test_hooks_of_workers_are_chained_in_their_order() -> None:
    """Set up after the user's, abort before, end after, whatever theirs raise."""
    order: list[str] = []
    worker = SimpleNamespace(pid=os.getpid())

    def failing(server: Any, worker: Any) -> None:
        order.append("user exits")
        raise LookupError

    cfg = Config()
    cfg.set("post_worker_init", lambda worker: order.append("user starts"))
    cfg.set("worker_abort", lambda worker: order.append("user aborts"))
    cfg.set("worker_exit", failing)
    lifecycle.follow_workers(
        cfg,
        begin=lambda worker: order.append("begin"),
        abort=lambda worker: order.append("abort"),
        end=lambda worker: order.append("end"),
    )
    cfg.post_worker_init(worker)
    cfg.worker_abort(worker)
    with pytest.raises(LookupError):
        cfg.worker_exit(None, worker)
    assert order == ["user starts", "begin", "abort", "user aborts", "user exits", "end"]


def test_a_worker_exit_in_the_master_is_not_ours() -> None:
    """gunicorn calls the hook there for a worker it could not signal."""
    cfg = Config()
    ended: list[int] = []
    lifecycle.follow_workers(cfg, begin=print, abort=print, end=lambda worker: ended.append(worker.pid))
    cfg.worker_exit(None, SimpleNamespace(pid=os.getpid() + 1))
    assert ended == []


# ---------------------------------------------------------------- why workers died


def told(reasons: Reasons, pid: int) -> str | None:
    """The reason alone; it is known since a moment ago."""
    found = reasons.reason_for(pid)
    assert found is None or 0 < found[1] <= time.monotonic_ns()
    return found and found[0]


def test_reasons_are_told_by_pid() -> None:
    """A timeout, a signal and an exit read differently; of who is not known nothing is said."""
    reasons = Reasons()
    reasons.note(11, TIMEOUT, 9)
    reasons.note(12, SIGNAL, 9)
    reasons.note(13, EXIT, 1)
    assert [told(reasons, pid) for pid in (11, 12, 13, 14)] == ["timeout", "signal 9", "exit 1", None]


def test_of_a_pid_that_died_twice_the_last_death_counts() -> None:
    """Pids come back; also when the table has gone round in between."""
    reasons = Reasons()
    for pid in (8, 9, 10):
        reasons.note(pid, EXIT, 0)
    reasons.note(11, SIGNAL, 9)
    for pid in range(1000, 1000 + ROOM - 4):
        reasons.note(pid, EXIT, 0)
    reasons.note(11, EXIT, 3)
    assert told(reasons, 11) == "exit 3"


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_what_the_parent_notes_its_children_read() -> None:
    """The memory is shared over a fork made before."""
    reasons = Reasons()
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(here, 1)
        os._exit(7 if told(reasons, 4711) == "signal 11" else 1)
    reasons.note(4711, SIGNAL, 11)
    os.write(there, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    os.close(here)
    os.close(there)


class Reaping:
    """A master that reaps as gunicorn does, children who died with these wait statuses, and their kernel."""

    def __init__(self, statuses: dict[int, int], aborted: tuple[int, ...] = ()) -> None:
        self.WORKERS = {pid: SimpleNamespace(aborted=pid in aborted) for pid in statuses}
        self.dead = list(statuses.items())
        self.reaped: list[int] = []

    def waitpid(self, pid: int, options: int) -> tuple[int, int]:
        assert (pid, options) == (-1, os.WNOHANG)
        return self.dead.pop(0) if self.dead else (0, 0)

    def reap_workers(self) -> None:
        while (found := self.waitpid(-1, os.WNOHANG))[0]:
            del self.WORKERS[found[0]]
            self.reaped.append(found[0])


class Heart:
    """What a worker shows its master, so many seconds ago; None: no more."""

    def __init__(self, ago: float | None, clock: Callable[[], float]) -> None:
        self.ago = ago
        self.clock = clock

    def last_update(self) -> float:
        if self.ago is None:
            raise ValueError
        return self.clock() - self.ago


@pytest.mark.parametrize("clock", [time.monotonic, time.time])  # the latter's is gunicorn up to 21
@pytest.mark.parametrize(
    ("ago", "timeout", "reason"),
    [(31.0, 30, "timeout"), (1.0, 30, "signal 6"), (99.0, 0, "signal 6"), (None, 30, "signal 6")],
)
def test_only_who_is_late_was_aborted_by_its_master(
    ago: float | None, timeout: int, reason: str, clock: Callable[[], float]
) -> None:
    """Anybody may send SIGABRT; a worker without a timeout gets none of gunicorn."""
    worker = SimpleNamespace(tmp=Heart(ago, clock), cfg=SimpleNamespace(timeout=timeout))
    assert lifecycle.why_aborted(worker) == reason


def test_the_first_abort_is_the_reason() -> None:
    """The next one meets a worker that is ending."""
    marks: list[str] = []
    heart = Heart(1.0, time.monotonic)
    worker = SimpleNamespace(
        tmp=heart, cfg=SimpleNamespace(timeout=30), server_tracing=SimpleNamespace(abort=marks.append)
    )
    gunicorn_workers.abort(worker)
    heart.ago = 31.0
    gunicorn_workers.abort(worker)
    assert marks == ["signal 6"]


def test_deaths_are_noted_while_gunicorn_reaps() -> None:
    """An aborted worker timed out, whatever it then died of. The system is left as it was."""
    master: Any = Reaping({1: 9, 2: 9, 3: 11, 4: 3 << 8}, aborted=(1,))
    waitpid, reasons = master.waitpid, Reasons()
    watch_deaths(master, reasons, lambda: 0, master)
    master.reap_workers()
    assert [told(reasons, pid) for pid in (1, 2, 3, 4)] == ["timeout", "signal 9", "signal 11", "exit 3"]
    assert (master.reaped, master.waitpid) == ([1, 2, 3, 4], waitpid)


def test_a_worker_that_dies_while_another_is_reaped_is_noted_too() -> None:
    """Between two looks at who is dead there is always a moment."""
    master: Any = Reaping({1: 9, 2: 6})
    last = master.dead.pop()
    reasons, known = Reasons(), master.waitpid

    def another_dies(pid: int, options: int) -> tuple[int, int]:
        found: tuple[int, int] = known(pid, options)
        master.dead += [last] if found[0] == 1 else []
        return found

    master.waitpid = another_dies
    watch_deaths(master, reasons, lambda: 0, master)
    master.reap_workers()
    assert [told(reasons, pid) for pid in (1, 2)] == ["signal 9", "signal 6"]


def test_a_kill_for_want_of_memory_is_told_from_any_other() -> None:
    """The control group's count has gone up."""
    master: Any = Reaping({1: 9, 2: 9, 3: 11})
    reasons, count = Reasons(), iter((4, 4, 5))
    watch_deaths(master, reasons, count.__next__, master)
    master.reap_workers()
    assert [told(reasons, pid) for pid in (1, 2, 3)] == ["signal 9", "signal 9 (out of memory)", "signal 11"]


def test_a_child_that_is_no_worker_is_nobody_s_business() -> None:
    """A new master of an upgrade, say."""
    master: Any = Reaping({1: 9})
    master.WORKERS.clear()
    master.reap_workers = lambda: master.waitpid(-1, os.WNOHANG)
    reasons = Reasons()
    watch_deaths(master, reasons, lambda: 0, master)
    assert master.reap_workers() == (1, 9)
    assert reasons.reason_for(1) is None


def test_a_master_that_cannot_look_still_reaps() -> None:
    """What goes wrong in us is nothing to gunicorn."""
    master: Any = Reaping({1: 9})

    def fail(*arguments: Any) -> None:
        raise OSError

    reasons = SimpleNamespace(note=fail)
    watch_deaths(master, cast("Reasons", reasons), lambda: 0, master)
    master.reap_workers()
    assert master.reaped == [1]
