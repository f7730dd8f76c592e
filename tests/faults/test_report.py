"""The table of `scripts/faults` holds what the tests reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import report

ROOT = Path(__file__).resolve().parents[2]
SHOW = """
import runpy, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
print(runpy.run_path(sys.argv[1] + "/faults")["table"](Path(sys.argv[2])))
"""


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """Where this test's lines go; those of a run in progress stay what they are."""
    monkeypatch.setattr(report, "_FILE", str(tmp_path / "lines"))
    return tmp_path / "lines"


def test_a_line_for_each_report(lines):
    """In the order of their names, the same ones together; nothing where nothing was measured."""
    report.report("thunder", requests=150_000, dropped=3)
    report.report("thunder", requests=50_000, added_p99_ms=-0.04)
    report.report("hail", requests=12, lost=1, duplicated=2, client_errors=4)
    shown = subprocess.check_output(
        [sys.executable, "-c", SHOW, str(ROOT / "scripts"), str(lines)], text=True
    ).splitlines()
    assert shown[0].count("|") == shown[1].count("|") == 8
    assert shown[2:] == [
        "| hail | 12 | 1 | 0 | 2 | 4 |  |",
        "| thunder | 200,000 | 0 | 3 | 0 | 0 | -0.04 ms |",
    ]


def test_no_file_no_line(tmp_path, monkeypatch):
    """Within `scripts/test` nothing is written."""
    monkeypatch.setattr(report, "_FILE", "")
    monkeypatch.chdir(tmp_path)
    report.report("hail", requests=1)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("asked", "expected"), [("long", 2), ("short", 1), ("", 1)])
def test_the_size_is_chosen_by_one_variable(asked, expected):
    """Read once, when it is imported."""
    ask = "import json, report; print(json.dumps(report.size(1, 2)))"
    environ = {**os.environ, "SERVER_TRACING_FAULTS": asked, "PYTHONPATH": str(Path(__file__).parent)}
    assert json.loads(subprocess.check_output([sys.executable, "-c", ask], env=environ)) == expected
