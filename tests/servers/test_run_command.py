"""`server-tracing run` in front of real servers: they are recorded, and otherwise what they were."""

from __future__ import annotations

import signal

import pytest
from harness import PYTHON, get, start, status_of

GUNICORN = [PYTHON, "-m", "gunicorn", "-b", "127.0.0.1:{port}"]
UVICORN = [PYTHON, "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}"]
FACTORY = """
def make():
    from asgi_app import app
    return app
"""
TWO_STEPS = """
class app:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        from asgi_app import app
        await app(self.scope, receive, send)
"""
OWN_CONFIGURATION = """
threads = 2

def when_ready(server):
    with open("{said}", "w") as said:
        said.write(server.cfg.worker_class_str)
"""


def run(*command: str, **options):
    """A server, started as a person starts it with our command in front."""
    return start(["server_tracing.cli", "run", *command], **options)


def assert_recorded(server) -> None:
    """A request gets its answer, and its one record."""
    assert status_of(server.talk(get("/missing?color=red"))) == 404
    (record,) = server.records()
    assert (record["path"], record["status"], record["outcome"]) == ("/missing", 404, "ok")


def test_gunicorn_is_recorded():
    """With a command line that says nothing of us."""
    with run(*GUNICORN, "wsgi_app:app") as server:
        assert_recorded(server)


def test_gunicorns_own_configuration_counts(tmp_path):
    """The file named with -c is loaded, and its hooks run."""
    said = tmp_path / "said"
    conf = tmp_path / "own.py"
    conf.write_text(OWN_CONFIGURATION.format(said=said))
    with run(*GUNICORN, "-c", str(conf), "wsgi_app:app") as server:
        assert_recorded(server)
    assert said.read_text() == "gthread"


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "two workers"])
def test_uvicorn_is_recorded(options):
    """One process or several."""
    with run(*UVICORN, *options, "asgi_app:app") as server:
        assert_recorded(server)


def test_a_uvicorn_factory_is_recorded(tmp_path):
    """--factory and --app-dir keep their meaning."""
    (tmp_path / "shop.py").write_text(FACTORY)
    with run(*UVICORN, "--factory", "--app-dir", str(tmp_path), "shop:make") as server:
        assert_recorded(server)


@pytest.mark.parametrize("interface", ["auto", "asgi2"])
def test_an_application_of_two_steps_is_recorded(interface, tmp_path):
    """ASGI 2, told or found out."""
    (tmp_path / "shop.py").write_text(TWO_STEPS)
    with run(*UVICORN, "--interface", interface, "--app-dir", str(tmp_path), "shop:app") as server:
        assert_recorded(server)


def test_a_wsgi_application_under_uvicorn_is_recorded():
    """--interface wsgi reaches the application, not our factory."""
    with run(*UVICORN, "--interface", "wsgi", "wsgi_app:app") as server:
        assert_recorded(server)


@pytest.mark.parametrize(
    "command", [[*GUNICORN, "wsgi_app:app"], [*UVICORN, "asgi_app:app"]], ids=["gunicorn", "uvicorn"]
)
def test_signals_and_exit_status_are_the_servers(command):
    """The process that was started is the server: SIGTERM ends it, as it would without us."""
    statuses = []
    for server in (start(command[2:]), run(*command)):
        with server:
            server.talk(get("/"))  # a worker that is still booting may miss the signal, with us or without
            statuses.append(server.stop(signal.SIGTERM))
    assert statuses[0] == statuses[1]


def test_switched_off_nothing_is_recorded():
    """SERVER_TRACING_ENABLED=0 leaves the server as it was: not even a directory is made."""
    with run(*GUNICORN, "wsgi_app:app", env={"SERVER_TRACING_ENABLED": "0"}) as server:
        assert status_of(server.talk(get("/missing"))) == 404
        server.stop()
        assert not server.state_dir.exists()
