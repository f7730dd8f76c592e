"""gunicorn with the door in front of it: everything a server can be told still works, and is recorded."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import (
    PYTHON,
    Server,
    body_of,
    connect,
    environment,
    events,
    get,
    read_all,
    start,
    status_of,
    talk,
    wait_until,
)

DOOR = ["-c", "python:server_tracing.gunicorn"]
TRACED = ["gunicorn", *DOOR, "wsgi_app:app"]
HOOKS = """
import os

def say(name):
    print("hook", name, flush=True)

def on_starting(server): say("on_starting")
def on_reload(server): say("on_reload")
def when_ready(server): say("when_ready")
def pre_fork(server, worker): say("pre_fork")
def post_fork(server, worker): say("post_fork")
def post_worker_init(worker): say("post_worker_init")
def worker_int(worker): say("worker_int")
def worker_abort(worker): say("worker_abort")
def child_exit(server, worker): say("child_exit")
def worker_exit(server, worker): say("worker_exit")
def nworkers_changed(server, new, old): say(f"nworkers_changed {old} {new}")
def on_exit(server): say("on_exit")

def pre_request(worker, req):
    say("pre_request " + req.path)
    if req.path == "/refuse":
        raise ValueError("the hook refuses")

def post_request(worker, req, environ):
    say("post_request " + req.path)
    if req.path == "/late":
        raise ValueError("the hook fails")
"""


def pids(server: Server) -> set[int]:
    """The workers that answer now."""
    return {int(body_of(server.talk(get("/pid")))) for _ in range(8)}


def worker_of(server: Server) -> int:
    (pid,) = pids(server)
    return pid


def hooks_said(arguments: list[str]) -> tuple[list[str], list[int]]:
    """What the hooks of a configuration say while a server lives, and what its clients get."""
    with start(["gunicorn", *arguments, "wsgi_app:app"], files={"gunicorn.conf.py": HOOKS}) as server:
        statuses = [status_of(server.talk(get(path))) for path in ("/hello", "/refuse", "/late", "/boom")]
        server.stop()
        return re.findall("^hook (.*)$", server.log(), re.MULTILINE), statuses


def test_every_hook_runs_as_it_did() -> None:
    """The same hooks in the same order, and what they raise has the same effect, as without the door."""
    assert hooks_said(DOOR) == hooks_said([])


def test_a_hook_that_refuses_is_the_clients_500() -> None:
    """As without us; the record has the exception."""
    with start(TRACED, files={"gunicorn.conf.py": HOOKS}) as server:
        assert status_of(server.talk(get("/refuse"))) == 500
        (record,) = server.records(1)
    assert (record["status"], record["outcome"], record["path"]) == (500, "error", "/refuse")
    assert record["exception"]["message"] == "the hook refuses"


def test_hup_reads_the_edited_file() -> None:
    """A worker more after it, and both generations' requests are recorded."""
    with start(TRACED, files={"gunicorn.conf.py": "workers = 1\n"}) as server:
        before = pids(server)
        (server.root / "gunicorn.conf.py").write_text("workers = 2  # of another size\n")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: len(pids(server) - before) == 2)
        server.stop()
        recorded = {record["worker_pid"] for record in server.records(8)}
    assert len(before) == 1
    assert len(recorded - before) == 2


def test_a_wrong_setting_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    """No traceback, no listening server; gunicorn's own exit code."""
    ended = subprocess.run(
        [PYTHON, "-m", *TRACED, "-b", "127.0.0.1:0", "-p", "pid"],
        env=environment({"SERVER_TRACING_DIR": str(tmp_path), "SERVER_TRACING_SAMPLING_RATE": "often"}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert "SERVER_TRACING_SAMPLING_RATE" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "pid").exists()


def test_settings_in_raw_env_count() -> None:
    """gunicorn's way to set variables comes before our reading them."""
    conf = "raw_env = ['SERVER_TRACING_SERVICE=from-raw-env']\n"
    with start(TRACED, files={"gunicorn.conf.py": conf}) as server:
        server.talk(get())
        (record,) = server.records(1)
    assert record["service"] == "from-raw-env"


def test_the_service_is_named_after_the_application() -> None:
    """Its module, unless somebody says otherwise."""
    with start(["gunicorn", *DOOR], files={"gunicorn.conf.py": "wsgi_app = 'wsgi_app:app'\n"}) as server:
        server.talk(get())
        (record,) = server.records(1)
    assert record["service"] == "wsgi_app"


def test_two_lines_in_ones_own_file_do() -> None:
    """`install(globals())`, with settings as arguments."""
    conf = "from server_tracing.gunicorn import install\ninstall(globals(), service='mine')\n"
    with start(["gunicorn", "wsgi_app:app"], files={"gunicorn.conf.py": conf}) as server:
        server.talk(get())
        (record,) = server.records(1)
    assert record["service"] == "mine"


def test_one_variable_does() -> None:
    """GUNICORN_CMD_ARGS changes no command."""
    variable = {"GUNICORN_CMD_ARGS": " ".join(DOOR)}
    with start(["gunicorn", "wsgi_app:app"], env=variable) as server:
        server.talk(get())
        assert server.records(1)


def test_the_switch_leaves_the_server_alone() -> None:
    """No record, no state, no thread."""
    with start(TRACED, env={"SERVER_TRACING_ENABLED": "0"}) as server:
        assert status_of(server.talk(get())) == 200
        threads = len(os.listdir(f"/proc/{worker_of(server)}/task"))
        server.stop()
        assert not server.state_dir.exists()
    assert threads == 1


# ---------------------------------------------------------------- ways to run


def test_an_application_loaded_before_the_fork() -> None:
    """`--preload`: every worker records its own requests."""
    with start([*TRACED, "--preload", "-w", "2"]) as server:
        served = pids(server)
        server.stop()
        recorded = {record["worker_pid"] for record in server.records(8)}
    assert recorded == served


def test_workers_that_are_replaced() -> None:
    """`--max-requests`: nothing is missing, nothing killed."""
    with start([*TRACED, "--max-requests", "3"]) as server:
        for number in range(10):
            assert status_of(server.talk(get(f"/{number}"))) == 200
        server.stop()
        found = server.records(10)
    assert [record["path"] for record in found] == [f"/{number}" for number in range(10)]
    assert {record["outcome"] for record in found} == {"ok"}
    assert len({record["worker_pid"] for record in found}) >= 3


def test_an_application_that_is_edited() -> None:
    """`--reload`: the new worker records as the old one did."""
    app = "from wsgi_app import app\n"
    arguments = ["gunicorn", *DOOR, "--reload", "--reload-engine", "poll", "edited:app"]
    with start(arguments, files={"edited.py": app}) as server:
        before = worker_of(server)
        (server.root / "edited.py").write_text(app + "# edited\n")
        wait_until(lambda: before not in pids(server), 20.0)
        server.stop()
        recorded = {record["worker_pid"] for record in server.records(16)}
    assert before in recorded
    assert len(recorded) == 2


def test_a_unix_socket() -> None:
    """There is no address to record, and nothing fails for it."""
    path = "{root}/socket"
    with start(
        ["gunicorn", *DOOR, "-b", f"unix:{path}", "wsgi_app:app"],
        until=lambda server: os.path.exists(server.fill(path)),
    ) as server:
        assert status_of(talk(server.fill(path), get("/uds"))) == 200
        assert status_of(talk(server.fill(path), b"NONSENSE\r\n\r\n")) == 400
        first, second = server.records(2)
    assert (first["path"], first.get("client_ip")) == ("/uds", None)
    assert second["outcome"] == "rejected"


def test_several_binds() -> None:
    """A request is recorded whichever of them it came through."""
    binds = ["-b", "127.0.0.1:{port}", "-b", "unix:{root}/socket"]
    with start(["gunicorn", *DOOR, *binds, "wsgi_app:app"]) as server:
        server.talk(get("/tcp"))
        talk(server.fill("{root}/socket"), get("/unix"))
        assert [record["path"] for record in server.records(2)] == ["/tcp", "/unix"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A certificate of our own for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = str(folder / "key.pem"), str(folder / "cert.pem")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2"
    subprocess.run([*make.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    return ["--keyfile", key, "--certfile", cert]


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_tls(certificate: list[str], worker: str) -> None:
    """https is the scheme; a client that speaks plain HTTP there is refused, and recorded."""
    with start(["gunicorn", *DOOR, *certificate, "-k", worker, "wsgi_app:app"]) as server:
        assert status_of(server.talk(get("/safe"), tls=True)) == 200
        assert status_of(server.talk(get("/file"), tls=True)) == 200
        server.talk(get("/plain"))
        first, second, *refused = server.records(2)
    assert (first["scheme"], first["path"], first["status"]) == ("https", "/safe", 200)
    assert second["response_bytes"] == 100_000
    assert {record["outcome"] for record in refused} <= {"rejected"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("place", ["{root}/theirs/state", "{root}/state"])
def test_a_root_master_whose_workers_are_not(place: str) -> None:
    """`user`: the state is the workers' own, also where only root could make it, and although that user may
    not read the interpreter, which here may stand in root's home."""
    conf = """
import os, pwd
user = "nobody"
preload_app = True
os.makedirs("{root}/theirs", exist_ok=True)
os.chown("{root}/theirs", pwd.getpwnam(user).pw_uid, -1)
"""
    state = {"SERVER_TRACING_DIR": place, "SERVER_TRACING_JOURNAL_DIR": "{root}/journals"}
    with start(TRACED, env=state, files={"gunicorn.conf.py": conf}) as server:
        server.talk(get("/as-nobody"))
        (record,) = server.records(1)
        assert server.state_dir.stat().st_uid == pwd.getpwnam("nobody").pw_uid
        assert len(list(server.root.glob("journals/*/*.journal"))) == 1
        assert "no journal" not in server.log()
    assert record["path"] == "/as-nobody"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_place_that_is_root_s_own_is_not_given_away() -> None:
    """A state directory with something in it keeps its owner, and the log says what to do."""
    conf = """
import os
user = "nobody"
preload_app = True
os.makedirs("{root}/state", exist_ok=True)
open("{root}/state/kept", "w").close()
"""
    with start(TRACED, files={"gunicorn.conf.py": conf}) as server:
        assert status_of(server.talk(get("/hello"))) == 200
        assert "belongs to root, not to nobody: `chown -R nobody" in server.log()
        assert server.state_dir.stat().st_uid == 0


# ---------------------------------------------------------------- workers that die


def test_a_worker_killed_in_a_request() -> None:
    """Its sibling tells what became of it, with the signal the master saw."""
    with start([*TRACED, "-w", "2"]) as server:
        assert server.talk(get("/die")) == b""
        (record,) = server.records(1)
    assert (record["outcome"], record["path"]) == ("killed", "/die")
    assert record["reason"] == "signal 9"


def test_a_worker_that_took_too_long() -> None:
    """`timeout` is the reason, whatever finally ended it."""
    arguments = [*TRACED, "--timeout", "1", "--graceful-timeout", "1"]
    with start(arguments) as server:
        answer = server.talk(get("/slow?30"), timeout=20.0)
        server.talk(get("/next"))
        found = {record["path"]: record for record in server.records(2)}
    record = found["/slow"]
    assert (record["outcome"], record["reason"]) == ("killed", "timeout")
    assert record.get("status", 0) == status_of(answer)  # from 24 on gunicorn still answers 500


def test_a_worker_that_cannot_even_be_aborted() -> None:
    """Native code holds the interpreter, no signal handler runs: only the master knows it was late."""
    with start([*TRACED, "-w", "2", "--timeout", "2"]) as server:
        assert server.talk(get("/hold"), timeout=20.0) == b""
        (record,) = server.records(1)
    assert (record["path"], record["outcome"], record["reason"]) == ("/hold", "killed", "timeout")


def test_a_worker_that_somebody_else_aborts() -> None:
    """That is no timeout."""
    with start([*TRACED, "-w", "2"]) as server:
        server.talk(get("/abort"))
        (record,) = server.records(1)
    assert (record["path"], record["outcome"], record["reason"]) == ("/abort", "killed", "signal 6")


def test_a_request_whose_worker_has_given_it_up_is_answered_all_the_same() -> None:
    """gthread's threads are waited for after `worker_exit`, and then nobody kills the worker."""
    arguments = [*TRACED, "-k", "gthread", "--threads", "2", "--graceful-timeout", "1", "--max-requests", "2"]
    with start(arguments) as server:
        with connect(server.address) as client:
            client.sendall(get("/slow?4"))
            server.wait_for_log("slow now")
            assert status_of(server.talk(get("/next"))) == 200
            assert status_of(read_all(client)) == 200
        found = {record["path"]: record for record in server.records(2)}
    assert (found["/slow"]["outcome"], found["/slow"]["status"]) == ("ok", 200)


def test_a_request_that_arrives_while_its_worker_ends_is_recorded() -> None:
    """A thread of gthread's has begun to read it, and does what is asked before the interpreter ends."""
    first, rest = get("/next")[:10], get("/next")[10:]
    with start([*TRACED, "-k", "gthread", "--threads", "2"]) as server:
        worker, asked = worker_of(server), len(server.records(8))
        with connect(server.address) as client:
            client.sendall(first)
            assert status_of(server.talk(get("/another"))) == 200  # so a thread waits for the rest
            os.kill(worker, signal.SIGABRT)
            server.wait_for_log("Worker exiting")
            client.sendall(rest)
            assert status_of(read_all(client)) == 200
        paths = [record["path"] for record in server.records(asked + 2)]
    assert {"/another", "/next"} <= set(paths)


def test_a_quick_stop_in_a_request() -> None:
    """SIGQUIT ends the worker in the middle: killed, by an exit."""
    with start(TRACED) as server:
        with connect(server.address) as client:
            client.sendall(get("/slow?30"))
            server.wait_for_log("slow now")
            assert server.stop(signal.SIGQUIT) == 0
        (record,) = server.records(1)
    assert (record["outcome"], record["reason"]) == ("killed", "exit")


def test_a_request_that_outlives_the_graceful_timeout() -> None:
    """The worker ends in order, whatever its threads are at: an exit, though no master is left to say so."""
    arguments = [*TRACED, "-k", "gthread", "--threads", "2", "--graceful-timeout", "1"]
    with start(arguments) as server:
        worker, asked = worker_of(server), len(server.records(8))
        with connect(server.address) as client:
            client.sendall(get("/slow?30"))
            server.wait_for_log("slow now")
            os.kill(worker, signal.SIGTERM)
            wait_until(lambda: "exit" in events(server.state_dir))  # it says so, and waits for its thread
            os.killpg(server.pid, signal.SIGKILL)
        recover = [PYTHON, "-m", "server_tracing.cli", "recover", "--state-dir", str(server.state_dir)]
        subprocess.run(recover, env=environment({}), check=True)
        (record,) = [record for record in server.records(asked + 1) if record["path"] == "/slow"]
    assert (record["outcome"], record["reason"]) == ("killed", "exit")


def test_the_life_of_a_worker_is_recorded() -> None:
    """Boot and exit are events beside the requests."""
    with start(TRACED) as server:
        server.talk(get())
        server.stop()
        said: list[Any] = events(server.state_dir)
    assert said[0] == "boot"
    assert "exit" in said


def test_a_worker_imports_nothing_of_ours_that_its_master_could_have() -> None:
    """Workers come and go with max_requests; each would pay it again before it serves."""
    with start(["gunicorn", "wsgi_app:app"], files={"gunicorn.conf.py": COUNT_IMPORTS}) as server:
        server.talk(get("/hello"))
        assert "imported by the worker: set()" in server.wait_for_log("imported by the worker")


COUNT_IMPORTS = """
import sys
from server_tracing.gunicorn import install

def ours():
    return {name for name in sys.modules if name.startswith("server_tracing.")}

def post_fork(server, worker):
    worker.inherited = ours()

def post_request(worker, req, environ, resp):
    print("imported by the worker:", ours() - worker.inherited, flush=True)

install(globals())
"""
