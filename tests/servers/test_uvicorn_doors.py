"""uvicorn's life behind our doors: processes, sockets, lifespans, limits, settings, and how it ends."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from harness import (
    PYTHON,
    connect,
    environment,
    events,
    get,
    read_all,
    records,
    start,
    talk,
    wait_until,
)
from uvicorn_support import APP, Answer, Client, has_protocol_door, serve

pytestmark = pytest.mark.servers

DOORS = ["factory", "protocol"] if has_protocol_door() else ["factory"]


@pytest.mark.parametrize("door", DOORS)
def test_every_worker_process_records(door: str) -> None:
    """With `--workers` the processes that serve record, the one that watches over them does not."""
    with serve("--workers", "2", door=door) as server:
        client = Client(server)
        pids = {int(client.get("/pid").body) for _ in range(12)}
        for query in client.asked:
            assert client.record(query)["worker_pid"] in pids
        assert server.pid not in pids
        server.stop()
        assert len(records(server.state_dir)) == 12
        assert events(server.state_dir).count("boot") == 2


def test_a_killed_worker_leaves_its_request_to_another() -> None:
    """What it had answered is there, what it was at is killed."""
    with serve("--workers", "2") as server:
        client = Client(server)
        client.get("/hello")
        with client.send("GET", "/die") as connection:
            assert read_all(connection) == b""
        assert client.record()["outcome"] == "killed"
        assert client.record(client.asked[0])["outcome"] == "ok"


@pytest.mark.parametrize("door", DOORS)
def test_a_reloaded_process_records(door: str, tmp_path: Path) -> None:
    """Each process that `--reload` starts opens the door again."""
    source = tmp_path / "edited.py"
    source.write_text("from uvicorn_app import app\n")
    options = ["--reload", "--reload-dir", str(tmp_path), "--app-dir", str(tmp_path)]
    with serve(*options, door=door, app="edited:app") as server:
        client = Client(server)
        client.get("/hello")
        first = client.record()["worker_pid"]
        source.write_text("from uvicorn_app import app  # edited\n")
        wait_until(lambda: server.log().count("Application startup complete") == 2, 20)
        client.get("/hello")
        assert client.record()["worker_pid"] != first


def test_a_unix_socket_has_no_client_address(tmp_path: Path) -> None:
    """`scope["client"]` is None there."""
    path = str(tmp_path / "socket")
    argv = ["uvicorn", "--uds", path, "--port", "{port}", "--factory", "server_tracing.uvicorn:create_app"]
    runs = lambda server: "Uvicorn running" in server.log()  # noqa: E731
    with start(argv, env={"SERVER_TRACING_APP": APP}, until=runs) as server:
        assert b"hello" in talk(path, get("/hello"))
        (record,) = server.records(1)
        assert (record["outcome"], record.get("client_ip")) == ("ok", None)


@pytest.mark.parametrize(
    ("app", "variable"),
    [
        ("uvicorn_app:create", "1"),
        ("uvicorn_app:create", ""),
        ("uvicorn_app:Two", ""),
        ("uvicorn_app:wsgi", ""),
    ],
)
def test_whatever_uvicorn_runs_is_recorded(app: str, variable: str) -> None:
    """A factory, told or found out; an ASGI 2 class; a WSGI application."""
    options = ["--interface", "wsgi"] if app.endswith("wsgi") else []
    with serve(*options, app=app, env={"SERVER_TRACING_APP_FACTORY": variable}) as server:
        client = Client(server)
        assert client.get("/hello").status == 200
        record = client.record()
        assert (record["outcome"], record["path"], record["service"]) == ("ok", "/hello", "uvicorn_app")


def test_an_application_that_is_wrapped_already_is_recorded_once(tmp_path: Path) -> None:
    """The door sees more, and has it; without a door the wrapper records."""
    (tmp_path / "wrapped.py").write_text(
        "import server_tracing, uvicorn_app\napp = server_tracing.asgi(uvicorn_app.app)\n"
    )
    options = ["--app-dir", str(tmp_path)]
    with serve(*options, app="wrapped:app") as server:
        client = Client(server)
        client.get("/hello")
        assert client.record()["server"].startswith("uvicorn")
    with start(["uvicorn", *options, "wrapped:app"]) as server:
        client = Client(server)
        client.get("/hello")
        assert client.record()["server"] == "asgi"


def test_a_wrapped_application_leaves_nothing_behind_when_its_server_stops(tmp_path: Path) -> None:
    """Without a door, the end of the lifespan is when everything is delivered."""
    (tmp_path / "wrapped.py").write_text(
        "import server_tracing, uvicorn_app\napp = server_tracing.asgi(uvicorn_app.app)\n"
    )
    with start(["uvicorn", "--app-dir", str(tmp_path), "wrapped:app"]) as server:
        client = Client(server)
        for _ in range(30):
            client.get("/hello")
        server.stop()
        assert len(records(server.state_dir)) == 30


def test_what_the_limit_on_concurrency_refuses_is_recorded() -> None:
    """503, and the application never saw it."""
    with serve("--limit-concurrency", "2") as server, ExitStack() as held:
        client = Client(server)

        def refused() -> Answer | None:
            # One connection is held with every try: some may be refused themselves, as others are closing.
            held.enter_context(client.send("GET", "/until_left"))
            answer = client.get("/hello")
            return answer if answer.status == 503 else None

        answer = wait_until(refused)
        record = client.record()
        assert (record["outcome"], record["status"]) == ("rejected", 503)
        assert (record["response_bytes"], record["reason"]) == (len(answer.body), "limit_concurrency")


@pytest.mark.parametrize("how", ["", "raises", "shutdown"])
def test_a_lifespan_is_marked_and_left_alone(how: str) -> None:
    """Supported, unsupported, or failing at the end: the server does what it does without us."""
    with serve(env={"TEST_LIFESPAN": how}) as server:
        Client(server).get("/hello")
        server.stop()
        started = "unsupported" if how == "raises" else "startup.complete"
        ended = {"": ["lifespan.shutdown.complete"], "shutdown": ["lifespan.shutdown.failed"]}.get(how, [])
        assert events(server.state_dir) == ["boot", f"lifespan.{started}", *ended, "exit"]
        expected = "shutdown failed" if how == "shutdown" else "Finished server process"
        assert expected in server.log()


def test_a_start_up_that_fails_stops_the_server_and_is_recorded() -> None:
    """With uvicorn's own exit code; the mark is delivered on the way out."""
    ended = lambda server: server.process.poll() is not None  # noqa: E731
    argv = ["uvicorn", "--factory", "server_tracing.uvicorn:create_app"]
    with start(argv, env={"SERVER_TRACING_APP": APP, "TEST_LIFESPAN": "startup"}, until=ended) as server:
        assert server.process.returncode == 3
        assert events(server.state_dir) == ["boot", "lifespan.startup.failed", "exit"]
        assert "database is away" in server.log()


def test_without_a_lifespan_a_server_starts_and_stops() -> None:
    """`--lifespan off`: the application is not asked."""
    with serve("--lifespan", "off") as server:
        Client(server).get("/hello")
        server.stop()
        assert events(server.state_dir) == ["boot", "exit"]
        assert len(records(server.state_dir)) == 1


@pytest.mark.parametrize("lifespan", ["auto", "off"])
def test_requests_cancelled_by_a_shutdown_are_errors(lifespan: str) -> None:
    """`--timeout-graceful-shutdown` ran out: uvicorn cancels them, and their records say so."""
    with serve("--timeout-graceful-shutdown", "1", "--lifespan", lifespan) as server:
        client = Client(server)
        connection = client.send("GET", "/until_left")
        wait_until(lambda: connect(server.address).close() is None)
        client.get("/hello")
        server.stop()
        connection.close()
        found = {record["path"]: record for record in records(server.state_dir)}
        assert (found["/until_left"]["outcome"], found["/until_left"].get("reason")) == ("error", "cancelled")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_end_by_signal_is_uvicorns_own(sent: int) -> None:
    """The exit status, with us and without, is the same; nothing that was answered is missing."""
    with start(["uvicorn", APP]) as bare:
        expected = bare.stop(sent)
    with serve() as server:
        client = Client(server)
        for _ in range(20):
            client.get("/hello")
        assert server.stop(sent) == expected
        assert len(records(server.state_dir)) == 20


def test_the_peer_and_the_client_behind_it_are_told_apart() -> None:
    """uvicorn puts a trusted X-Forwarded-For in the place of the peer; the record says where it is from."""
    with serve("--forwarded-allow-ips", "127.0.0.1") as server:
        client = Client(server)
        client.get("/hello", "X-Forwarded-For: 203.0.113.9")
        record = client.record()
        assert (record["client_ip"], record["forwarded"]) == ("203.0.113.9", "x-forwarded-for")
    with serve("--no-proxy-headers") as server:
        client = Client(server)
        client.get("/hello", "X-Forwarded-For: 203.0.113.9")
        assert client.record()["client_ip"] == "127.0.0.1"


TWO_SERVERS = """
import asyncio, sys, uvicorn, server_tracing.uvicorn as door
from urllib.request import urlopen

def server():
    config = uvicorn.Config("server_tracing.uvicorn:create_app", factory=True, port=0, log_level="warning")
    return uvicorn.Server(config)

async def get(server):
    url = "http://127.0.0.1:%d/hello" % server.servers[0].sockets[0].getsockname()[1]
    return await asyncio.to_thread(lambda: urlopen(url).read())

async def main():
    for _ in range(2):
        servers = [server(), server()]
        tasks = [asyncio.create_task(one.serve()) for one in servers]
        while not all(one.started for one in servers):
            await asyncio.sleep(0.01)
        for one, task in zip(servers, tasks):
            await get(one)
            one.should_exit = True
            await task

asyncio.run(main())
"""


def test_servers_of_one_process_are_recorded_together(tmp_path: Path) -> None:
    """As long as one of them serves; and again, when servers are started once more."""
    variables = {"SERVER_TRACING_APP": APP, "SERVER_TRACING_DIR": str(tmp_path / "state")}
    subprocess.run([PYTHON, "-c", TWO_SERVERS], env=environment(variables), check=True, timeout=60)
    assert [record["outcome"] for record in records(tmp_path / "state")] == ["ok"] * 4
    assert events(tmp_path / "state").count("boot") == 2


def run(*options: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """uvicorn, where it does not get as far as serving."""
    argv = [PYTHON, "-m", "uvicorn", "--port", "0", *options]
    return subprocess.run(argv, env=environment(env), capture_output=True, text=True, timeout=30, check=False)


def test_without_an_application_the_factory_says_what_is_missing() -> None:
    """One sentence and no traceback."""
    ended = run("--factory", "server_tracing.uvicorn:create_app", env={})
    assert ended.returncode != 0
    assert "SERVER_TRACING_APP is not set" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("app", ["nowhere:app", "uvicorn_app:nothing", "uvicorn_app"])
def test_an_application_that_is_not_there_is_told_in_uvicorns_words(app: str) -> None:
    """As without us."""
    ended = run("--factory", "server_tracing.uvicorn:create_app", env={"SERVER_TRACING_APP": app})
    bare = run(app, env={})
    assert ended.returncode == bare.returncode
    assert bare.stderr.splitlines()[-1].removeprefix("ERROR:").strip() in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_variable_of_the_door_that_is_wrong_stops_the_start() -> None:
    """With one sentence, too."""
    env = {"SERVER_TRACING_APP": APP, "SERVER_TRACING_APP_FACTORY": "perhaps"}
    ended = run("--factory", "server_tracing.uvicorn:create_app", env=env)
    assert ended.returncode != 0
    assert ended.stderr.strip() == "SERVER_TRACING_APP_FACTORY is 'perhaps', which is neither 1 nor 0"


def test_a_wrong_setting_stops_the_start() -> None:
    """With one sentence, before anything is served."""
    env = {"SERVER_TRACING_APP": APP, "SERVER_TRACING_SAMPLING_RATE": "often"}
    ended = run("--factory", "server_tracing.uvicorn:create_app", env=env)
    assert ended.returncode != 0
    assert "SERVER_TRACING_SAMPLING_RATE" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_setting_that_becomes_wrong_does_not_end_a_service(tmp_path: Path) -> None:
    """A process that is reloaded then goes on with the settings of the one before, and says so."""
    (tmp_path / "edited.py").write_text("from uvicorn_app import app\n")
    (tmp_path / "server_tracing.toml").write_text('service = "before"\n')
    argv = ["uvicorn", "--reload", "--factory", "server_tracing.uvicorn:create_app"]
    with start(argv, env={"SERVER_TRACING_APP": "edited:app"}, cwd=tmp_path) as server:
        (tmp_path / "server_tracing.toml").write_text('service = "after"\nsampling = "often"\n')
        edits = count()

        def reloading() -> bool:  # uvicorn may not watch yet when the first edit comes
            (tmp_path / "edited.py").write_text(f"from uvicorn_app import app  # edit {next(edits)}\n")
            return "Reloading" in server.log()

        wait_until(reloading, 20)
        wait_until(lambda: server.log().count("Application startup complete") > 1, 20)
        assert "The settings in use stay." in server.log()
        client = Client(server)
        client.get("/hello")
        assert client.record()["service"] == "before"


@pytest.mark.parametrize("door", DOORS)
def test_the_switch_leaves_the_server_as_it_was(door: str, tmp_path: Path) -> None:
    """SERVER_TRACING_ENABLED=0: the application and uvicorn's own classes, and no trace of us."""
    script = tmp_path / "look.py"
    script.write_text(
        "import sys, uvicorn_app, server_tracing.uvicorn as door\n"
        "from uvicorn.lifespan.on import LifespanOn\n"
        "from uvicorn.protocols.http.auto import AutoHTTPProtocol\n"
        "assert door.Protocol is AutoHTTPProtocol and door.create_app() is uvicorn_app.app\n"
        "assert LifespanOn.__init__.__module__ == 'uvicorn.lifespan.on'\n"
        "assert not any(name.startswith('server_tracing.capture.uvicorn') for name in sys.modules)\n"
    )
    env = environment({"SERVER_TRACING_APP": APP, "SERVER_TRACING_ENABLED": "0"})
    subprocess.run([PYTHON, str(script)], env=env, check=True)
    with serve(door=door, env={"SERVER_TRACING_ENABLED": "0"}) as server:
        assert Client(server).get("/hello").status == 200
        server.stop()
        assert not server.state_dir.exists()
