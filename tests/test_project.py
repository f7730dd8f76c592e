"""What the project says of itself is so: README, pyproject.toml, scripts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points, metadata, requires
from pathlib import Path

import pytest

import server_tracing
from server_tracing.cli import COMMANDS
from server_tracing.config.settings import SETTINGS, default

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
EXTRAS = {
    "gunicorn": "gunicorn",
    "uvicorn": "uvicorn",
    "xray": "aws-xray-sdk",
    "azure": "opencensus-ext-azure",
}


def section(title: str) -> str:
    """The part of the README under one heading."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their heads."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines if not set(line[0]) <= set("-| ")]


class TestReadme:
    """What the README names exists, and what exists it names."""

    def test_it_names_every_command_and_no_other(self):
        """Those of `server-tracing --help`."""
        named = re.findall(r"^    server-tracing (\w+)", section("Commands"), re.MULTILINE)
        assert named == list(COMMANDS)

    def test_it_names_the_options_of_requests_as_they_are(self):
        """Each of them is understood."""
        command = import_module("server_tracing.commands.requests").command
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", section("Commands").split("server-tracing trace")[0])) <= known

    def test_it_names_every_setting_with_its_default(self):
        """The table is the truth."""
        table = {row[0].strip("`"): row[1].strip("`") for row in rows(section("Settings"))}
        table.pop("setting")
        assert table == {setting.key: shown(setting, default(setting.key)) for setting in SETTINGS}

    def test_it_names_every_field_of_a_record(self):
        """And none that records do not have."""
        from server_tracing.record import Request

        inner = {
            "parent_sampled",
            "tracestate",
            "xray_extra",
            "rule",
            "central",
            "event_stream",
            "spans_dropped",
            "vitals",
            "unsent",
        }
        cells = " ".join(row[0] for row in rows(section("What is recorded").split("| outcome")[0]))
        named = {re.split(r"[\[{]", name)[0] for name in re.findall(r"`([^`]+)`", cells)}
        assert named == set(Request.__struct_fields__) - inner

    def test_its_links_lead_somewhere(self):
        """Those into the repository."""
        targets = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
        assert targets
        assert [target for target in targets if not (ROOT / target).exists()] == []


def shown(setting, value) -> str:
    """A default as the table shows it."""
    if setting.key == "capture.redact":
        return "see Privacy"
    if setting.key == "state_dir":
        return "see below"
    if value is None or value == "":
        return setting.absent
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value).lower() if isinstance(value, bool) else setting.show(value)


class TestPackage:
    """What pip is told."""

    def test_the_version_is_said_once(self):
        """In pyproject.toml and in the package it is the same."""
        assert f'version = "{server_tracing.__version__}"' in (ROOT / "pyproject.toml").read_text()

    @pytest.mark.parametrize(("extra", "library"), EXTRAS.items())
    def test_an_extra_installs_what_it_is_named_for(self, extra, library):
        """And `all` installs all of them."""
        wanted = [
            line
            for line in requires("server-tracing") or []
            if f'extra == "{extra}"' in line.replace("'", '"')
        ]
        assert [line for line in wanted if line.startswith(library)]
        assert extra in (metadata("server-tracing").get_all("Provides-Extra") or [])

    def test_the_command_is_installed(self):
        """`server-tracing` is the entry point of cli.py."""
        (command,) = entry_points(group="console_scripts", name="server-tracing")
        assert callable(command.load())


class TestScripts:
    """The commands a person types in a fresh clone."""

    @pytest.mark.parametrize("script", ["scripts/test", "scripts/demo", "scripts/faults", ".ci/run"])
    def test_they_can_be_executed(self, script):
        """And say by which program."""
        assert os.access(ROOT / script, os.X_OK)
        assert (ROOT / script).read_text().startswith("#!/usr/bin/env ")

    @pytest.mark.parametrize("script", ["test", "demo", "faults"])
    def test_an_old_python_is_told_so(self, script):
        """One sentence instead of a syntax error."""
        pretend = f"import sys; sys.version_info = (3, 9); exec(open('{ROOT}/scripts/{script}').read())"
        done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True)
        assert done.returncode == 1
        assert re.fullmatch(r"Python 3.10 or later is needed, .*\n", done.stderr)
