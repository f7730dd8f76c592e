"""A server with us is, for its clients and its application, the server that it is without us.

Two of them, of every class, are asked the same things: what they answer is compared byte for byte, what their
applications see event for event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from report import report, size
from requests_script import BROKEN, DECENT, WEBSOCKETS, hostile
from test_gunicorn import installed
from twins import Twins
from uvicorn_support import has_protocol_door, uvicorn

EXAMPLES = size(10, 500)
ASGI = "watching_app:asgi"
GUNICORN = ["gunicorn", "-c", "python:server_tracing.gunicorn"]
WSGI_WORKERS = ("sync", "gthread", "gevent", "gevent_pywsgi", "tornado")
ASGI_WORKERS = ("asgi", "uvicorn_worker.UvicornWorker", "uvicorn_worker.UvicornH11Worker")


class Kind(NamedTuple):
    """One class of server: how to start it with us and without."""

    name: str
    traced: Sequence[str]
    untraced: Sequence[str]
    app: str = ""  # where the door is told by a variable
    needs: str = ""  # a worker class of gunicorn's

    @property
    def env(self) -> dict[str, str]:
        return {"SERVER_TRACING_APP": self.app} if self.app else {}

    @property
    def speaks_websocket(self) -> bool:
        return ASGI in self.untraced


def gunicorn(worker: str, app: str) -> Kind:
    """A worker class of gunicorn's."""
    options = ["-k", worker, "--keep-alive", "5", f"watching_app:{app}"]
    return Kind(f"gunicorn {worker}", [*GUNICORN, *options], ["gunicorn", *options], needs=worker)


def of_uvicorn(http: str, websockets: str) -> Kind:
    """An implementation of each protocol, behind the factory."""
    options = ["--http", http, "--ws", websockets]
    traced = ["uvicorn", "--factory", "server_tracing.uvicorn:create_app", *options]
    return Kind(f"uvicorn {http} {websockets}", traced, ["uvicorn", *options, ASGI], ASGI)


KINDS = [
    *(gunicorn(worker, "wsgi") for worker in WSGI_WORKERS),
    *(gunicorn(worker, "asgi") for worker in ASGI_WORKERS),
    of_uvicorn("h11", "websockets"),
    of_uvicorn("httptools", "websockets-sansio"),
    of_uvicorn("zttp", "wsproto"),
    Kind(
        "uvicorn, the protocol's door",
        ["uvicorn", "--http", "server_tracing.uvicorn:Protocol", ASGI],
        ["uvicorn", ASGI],
    ),
    Kind("server_tracing.asgi", ["uvicorn", "wrapped_app:asgi"], ["uvicorn", ASGI]),
    Kind("server_tracing.wsgi", ["gunicorn", "wrapped_app:wsgi"], ["gunicorn", "watching_app:wsgi"]),
    Kind("wsgiref.validate", ["gunicorn", "validated_app:traced"], ["gunicorn", "validated_app:plain"]),
]


def is_to_be_had(kind: Kind) -> bool:
    """In the interpreter under test."""
    if kind.needs:
        return installed("gevent" if kind.needs == "gevent_pywsgi" else kind.needs)
    found, named = uvicorn(), kind.name.split()
    return ("door" not in kind.name or has_protocol_door()) and (
        len(named) != 3 or named[0] != "uvicorn" or (named[1] in found["http"] and named[2] in found["ws"])
    )


@pytest.mark.servers
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_nobody_can_tell_whether_it_is_traced(kind):
    """Not by decent requests, not by broken ones, not by what hypothesis can think of."""
    if not is_to_be_had(kind):
        pytest.skip("not in the interpreter under test")
    script = {**DECENT, **BROKEN, **(WEBSOCKETS if kind.speaks_websocket else {})}

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(hostile())
    def whatever(parts):
        twins.ask(*parts)

    with Twins(kind.traced, kind.untraced, kind.env) as twins:
        for parts in script.values():
            twins.ask(*parts)
        whatever()
    report(f"hostile requests, {len(KINDS)} classes of server beside untraced ones", requests=twins.asked)
