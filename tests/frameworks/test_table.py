"""The table of frameworks, where things are not as they should be."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest
from fake import FakeRecorder

from server_tracing import frameworks
from server_tracing.capture import swallowed

PRINT_LOADED = """
import sys
from server_tracing.frameworks import FRAMEWORKS, in_use, left_in
from server_tracing.frameworks.unwrap import applications_in
assert in_use() == [] and left_in("scope") is left_in("environ") is None and applications_in(print) == []
first = {framework.applications[0].replace(":", ".").partition(".")[0] for framework in FRAMEWORKS}
print(*first & set(sys.modules))
"""


def test_no_framework_is_imported_that_the_application_did_not():
    """The table may be asked anything."""
    answer = subprocess.run([sys.executable, "-c", PRINT_LOADED], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


@pytest.mark.parametrize("framework", frameworks.FRAMEWORKS, ids=lambda framework: framework.name)
def test_every_entry_has_its_module(framework):
    """With a router, at least."""
    assert framework.offers("router") is not None
    assert framework.offers("no such thing") is None


def test_a_half_imported_framework_is_not_in_use(monkeypatch):
    """An import that failed, or goes on in another thread, leaves a module without its classes."""
    for framework in frameworks.FRAMEWORKS:
        for application in framework.applications:
            monkeypatch.setitem(sys.modules, application.partition(":")[0], ModuleType("half"))
    assert frameworks.in_use() == []


def test_a_framework_that_is_not_as_expected_costs_its_exceptions_and_a_mark(monkeypatch):
    """Not the start of the worker."""
    half = ModuleType("flask")
    half.Flask = type("Flask", (), {})
    monkeypatch.setitem(sys.modules, "flask", half)
    monkeypatch.setitem(sys.modules, "flask.app", half)
    monkeypatch.setattr(swallowed, "_watched", set())
    monkeypatch.setattr(swallowed, "in_use", lambda: [f for f in frameworks.FRAMEWORKS if f.name == "flask"])
    recorder = FakeRecorder()
    swallowed.served(print, recorder)
    assert recorder.marks == ["unseen"]
    assert recorder.applications == [frameworks.Served(print)]


def test_what_cannot_be_read_out_of_a_scope_is_no_route(monkeypatch):
    """Anybody may put anything there."""
    pytest.importorskip("starlette.applications")
    left = frameworks.left_in("scope")
    assert left is not None
    broken = type("Route", (), {"path_format": property(lambda self: 1 / 0)})()
    assert left({"type": "http", "path": "/", "route": broken, "path_template": None}) == ""
    assert left({}) == ""
