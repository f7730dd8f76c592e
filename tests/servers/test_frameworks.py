"""Unedited applications of every framework in the table, behind real servers of every class."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
from harness import PYTHON, REPOSITORY, get, start, status_of

APPS = REPOSITORY / "tests" / "apps"
PATHS = {"PYTHONPATH": f"{REPOSITORY}:{APPS}"}
ANGLES, BRACES = "/users/<int:number>", "/users/{number}"

GUNICORN = [  # worker, application, the route of /users/42
    ("sync", "flask_app:app", ANGLES),
    ("sync", "django_app:application", ANGLES),
    ("sync", "pyramid_app:app", "/users/{number:[0-9]+}"),
    ("sync", "bottle_app:app", "/users/<number:int>"),
    ("sync", "falcon_app:app", "/users/{number:int}"),
    ("gthread", "flask_app:app", ANGLES),
    ("gthread", "falcon_app:app", "/users/{number:int}"),
    ("gevent", "flask_app:app", ANGLES),
    ("gevent", "bottle_app:app", "/users/<number:int>"),
    ("gevent", "django_app:application", ANGLES),
    ("tornado", "django_app:application", ANGLES),
    ("asgi", "fastapi_app:app", BRACES),
    ("asgi", "django_app:asgi_application", ANGLES),
    ("uvicorn_worker.UvicornWorker", "starlette_app:app", BRACES),
    ("uvicorn_worker.UvicornWorker", "litestar_app:app", BRACES),
]
UVICORN = [
    ("fastapi_app:app", BRACES),
    ("litestar_app:app", BRACES),
    ("falcon_asgi_app:app", "/users/{number:int}"),
    ("django_app:asgi_application", ANGLES),
]
NEEDED = {
    "sync": "gunicorn",
    "gthread": "gunicorn",
    "uvicorn_worker.UvicornWorker": "uvicorn_worker",
    "asgi": "gunicorn.workers.gasgi",
}


@cache
def importable(module: str) -> bool:
    """Whether the interpreter under test has it."""
    return (
        subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0
    )


def needs(*modules: str) -> None:
    for module in modules:
        if not importable(module):
            pytest.skip(f"no {module} for {PYTHON}")


def under_gunicorn(worker: str, app: str, *options: str):
    return start(["gunicorn", "-c", "python:server_tracing.gunicorn", "-k", worker, *options, app], env=PATHS)


def check(server, route: str) -> None:
    """A route, none, a fault with its chain, and no fault: four records."""
    statuses = [
        status_of(server.talk(get(path))) for path in ("/users/42", "/nowhere/17", "/fault", "/moved")
    ]
    user, nowhere, fault, moved = server.records(4)
    assert statuses == [found["status"] for found in (user, nowhere, fault, moved)]
    assert (user["route"], user["outcome"], user.get("exception")) == (route, "ok", None)
    assert (nowhere["status"], nowhere.get("route")) == (404, None)
    assert (fault["status"], fault["route"], fault["outcome"]) == (500, "/fault", "error")
    raised = fault["exception"]
    assert (raised["type"], raised["message"]) == ("ValueError", "no such thing")
    assert 'raise ValueError("no such thing") from missing' in raised["stack"]
    assert raised["cause"]["type"] == "KeyError"
    assert (moved["route"], moved["outcome"], moved.get("exception")) == ("/moved", "ok", None)


@pytest.mark.parametrize(("worker", "app", "route"), GUNICORN)
def test_gunicorn_records_routes_and_exceptions_of(worker, app, route):
    """Nothing of the application was written with us in mind."""
    needs(app.partition("_")[0], NEEDED.get(worker, worker))
    with under_gunicorn(worker, app) as server:
        check(server, route)


@pytest.mark.parametrize(("app", "route"), UVICORN)
def test_uvicorn_records_routes_and_exceptions_of(app, route):
    """The same behind the other server."""
    needs("uvicorn", app.partition("_")[0])
    factory = ["--factory", "server_tracing.uvicorn:create_app"]
    with start(["uvicorn", *factory], env={**PATHS, "SERVER_TRACING_APP": app}) as server:
        check(server, route)


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_an_exception_stays_with_its_request(worker):
    """However many threads or greenlets are at it: each fault under the path that raised it, and no other."""
    needs("flask", NEEDED.get(worker, worker))
    with under_gunicorn(worker, "crowd_app:app", "--threads", "8") as server:
        paths = [f"/{what}/{number}" for number in range(20) for what in ("fails", "refuses", "works")]
        with ThreadPoolExecutor(12) as clients:
            answers = list(clients.map(lambda path: server.talk(get(path)), paths))
        assert {status_of(answer) for answer in answers} == {500, 503, 200}
        for found in server.records(len(paths)):
            expected = found["path"] if found["path"].startswith("/fails") else None
            assert (found.get("exception") or {}).get("message") == expected


def test_the_path_a_server_puts_before_all_others_is_in_no_route():
    """uvicorn's --root-path: behind it an application's mounts and routes are found as without it."""
    needs("uvicorn", "starlette")
    serving = ["uvicorn", "--root-path", "/shop", "--factory", "server_tracing.uvicorn:create_app"]
    with start(serving, env={**PATHS, "SERVER_TRACING_APP": "starlette_app:app"}) as server:
        server.talk(get("/tenants/t1/orders/a/lines/3"))
        server.talk(get("/files/a.css"))
        mounted, files = server.records(2)
        assert mounted["route"] == "/tenants/{tenant}/orders/{name}/lines/{line}"
        assert files["route"] == "/files/{path}"


def test_a_worker_that_serves_an_unknown_framework_makes_names_of_paths():
    """And does not where the settings say so."""
    serving = ["gunicorn", "-c", "python:server_tracing.gunicorn", "plain_app:app"]
    for derive, route in (("1", "/users/{id}"), ("0", None)):
        with start(serving, env={**PATHS, "SERVER_TRACING_CAPTURE_DERIVE_ROUTES": derive}) as server:
            server.talk(get("/users/4711"))
            assert server.records(1)[0].get("route") == route
