"""What an import brings with it: counted in modules, because seconds differ from machine to machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

DOORS = [
    ("gunicorn.app.wsgiapp", "server_tracing.gunicorn"),
    ("uvicorn.main", "server_tracing.uvicorn"),
]
USED_LATER = {"click", "psutil", "sqlite3", "http.client", "aws_xray_sdk", "opencensus", "requests"}


def brought_by(module: str, after: str, folder) -> set[str]:
    """The modules that importing this one adds to a process that has already imported another."""
    script = (
        f"import sys, {after}; before = set(sys.modules); import {module}; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    assert not done.stderr
    return set(done.stdout.split())


def test_the_package_alone_brings_nothing(tmp_path):
    """`import server_tracing` is free: what it offers is imported when it is used."""
    assert brought_by("server_tracing", "typing, importlib", tmp_path) <= {"server_tracing", "__future__"}


@pytest.mark.parametrize(("server", "door"), DOORS)
def test_a_door_brings_no_library_but_the_one_for_records(server, door, tmp_path):
    """Beside our own modules and the standard library, only msgspec: no backend, no command line."""
    pytest.importorskip(server)
    names = {module.partition(".")[0] for module in brought_by(door, server, tmp_path)}
    records = {"msgspec", "typing_extensions"}  # the second only where it is installed
    assert names - sys.stdlib_module_names <= {"server_tracing", *records}


@pytest.mark.parametrize(("server", "door"), DOORS)
def test_a_door_leaves_for_later_what_only_the_exporter_or_a_command_needs(server, door, tmp_path):
    """Database, HTTP client, vitals and command line are imported by those who use them."""
    pytest.importorskip(server)
    brought = brought_by(door, server, tmp_path)
    assert not brought & USED_LATER
    assert not [
        name for name in brought if name.startswith(("server_tracing.viewer", "server_tracing.store"))
    ]


def test_the_public_names_are_there():
    """What the package's page in the README promises can be imported from it, and is listed."""
    import server_tracing

    assert set(server_tracing.__all__) <= set(dir(server_tracing))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        server_tracing.nothing  # noqa: B018
