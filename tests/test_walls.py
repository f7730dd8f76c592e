"""The walls of the house: which module may import which, read from the source without running it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "server_tracing"
ROOMS = ("capture", "inside", "export", "viewer")
BACKENDS = {"aws_xray_sdk", "opencensus", "azure", "boto3", "botocore", "requests", "urllib3"}
SLOW_OR_WAITING = {"json", "socket", "http", "urllib.request", "sqlite3", "subprocess"}
LOGGING_SET_UP = {"basicConfig", "dictConfig", "fileConfig", "addHandler", "setLevel"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """The import name of a source file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room a module stands in; empty for the root and for anybody else's modules."""
    parts = module.split(".")
    return parts[1] if parts[0] == "server_tracing" and parts[1:2] and parts[1] in ROOMS else ""


def imports(path: Path) -> Iterator[str]:
    """Every module a file may import at run time, in its functions too."""
    name = dotted(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return imported_by(path.read_text(), package)


def imported_by(source: str, package: str) -> Iterator[str]:
    """What a module's source in this package imports."""
    for node in executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from absolute(node, package)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, but for what stands under `if TYPE_CHECKING`."""
    yield node
    for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for child in node.orelse if for_types else ast.iter_child_nodes(node):
        yield from executed(child)


def attributes(path: Path) -> Iterator[ast.Attribute]:
    """Everything of the form `something.name` in a file."""
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute))


def absolute(statement: ast.ImportFrom, package: str) -> Iterator[str]:
    """`from .b import c` as a.b and a.b.c: `c` may be a module or something in one."""
    parts = package.split(".")
    origin = parts[: len(parts) - statement.level + 1] if statement.level else []
    module = ".".join([*origin, *filter(None, [statement.module])])
    yield module
    yield from (f"{module}.{alias.name}" for alias in statement.names)


def within(module: str, names: set[str]) -> bool:
    """Whether a module is one of these or inside one."""
    return any(module == name or module.startswith(name + ".") for name in names)


def offences(paths: Iterator[Path], forbidden: Callable[[str], bool]) -> list[str]:
    """What these files import and may not."""
    found = [(dotted(path), module) for path in paths for module in imports(path)]
    return [f"{importer} imports {module}" for importer, module in found if forbidden(module)]


def in_room(room: str) -> Iterator[Path]:
    """The source files of one room."""
    return (path for path in MODULES if room_of(dotted(path)) == room)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_never_import_each_other(room):
    """What two rooms share stands in the root."""
    assert not offences(in_room(room), lambda module: room_of(module) not in ("", room))


def test_no_module_imports_a_backends_library_where_a_door_could_meet_it():
    """Only a backend's own modules, in export/ or inside/, know its library, and only once they are used."""
    elsewhere = (path for path in MODULES if room_of(dotted(path)) not in ("export", "inside"))
    assert not offences(elsewhere, lambda module: within(module, BACKENDS))


def test_what_runs_inside_the_request_imports_nothing_that_waits():
    """No backend, no json, no sockets in capture/."""
    assert not offences(in_room("capture"), lambda module: within(module, BACKENDS | SLOW_OR_WAITING))


def test_nobody_sets_up_the_applications_logging():
    """A library says what it has to say; where that goes is not its business."""
    names = [(dotted(path), node.attr) for path in MODULES for node in attributes(path)]
    assert not [(module, name) for module, name in names if name in LOGGING_SET_UP]


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_a_server_is_known_only_to_its_own_modules(server):
    """In capture/, gunicorn's objects belong to gunicorn*.py, uvicorn's to uvicorn*.py."""
    others = (path for path in in_room("capture") if not path.name.startswith(server))
    assert not offences(others, lambda module: within(module, {server}))


def test_the_doors_globals_are_no_gunicorn_settings(tmp_path):
    """gunicorn takes every global of a configuration module that is named like a setting for one."""
    settings = pytest.importorskip("gunicorn.config").KNOWN_SETTINGS
    script = "import server_tracing.gunicorn as door; print(*vars(door))"
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    plain_settings = {setting.name for setting in settings if setting.section != "Server Hooks"}
    assert not plain_settings & set(printed.split())


SOURCE = """
from typing import TYPE_CHECKING
import json
if TYPE_CHECKING:
    import socket
else:
    import ssl
def later():
    try:
        from ..export import local
    except ImportError:
        from . import faults
"""


def test_the_walls_are_seen():
    """The reading itself works: late and relative imports are found, those for types only are not."""
    seen = set(imported_by(SOURCE, "server_tracing.capture"))
    assert seen >= {"json", "ssl", "server_tracing.export.local", "server_tracing.capture.faults"}
    assert "socket" not in seen
    assert {room_of(dotted(path)) for path in MODULES} == {"", *ROOMS}
