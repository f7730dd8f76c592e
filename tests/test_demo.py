"""`server-tracing demo`: it shows what it says, ends by itself, and notices when something is missing."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest

from server_tracing import demo
from server_tracing.demo.stage import DemoError, Stage, until

COMMAND = [sys.executable, "-m", "server_tracing.cli", "demo"]


def play(*options: str, cwd=None) -> subprocess.CompletedProcess[str]:
    """The command, as a person types it."""
    return subprocess.run([*COMMAND, *options], cwd=cwd, capture_output=True, text=True, timeout=120)


def records() -> list[dict[str, object]]:
    """A day's records as they should be."""
    day = [("ok", "/", 1.0), ("ok", "/reports/daily", 1200.0), ("error", "/basket", 1.0)]
    day += [("rejected", "/products/1", 0.1), ("killed", "/checkout", 10.0)]
    return [
        {"outcome": outcome, "path": path, "duration_ms": duration, "span_id": str(number)}
        for number, (outcome, path, duration) in enumerate(day)
    ]


class TestPlaying:
    """The whole of it, with a real gunicorn."""

    pytestmark = pytest.mark.servers

    def test_it_shows_a_bad_day_and_ends_by_itself(self, tmp_path):
        """Exit code 0, and in the tables every trouble by its name."""
        played = play(cwd=tmp_path)
        assert (played.returncode, played.stderr) == (0, "")
        for shown in ("killed", "rejected", "error", "/checkout", "/reports/daily", "KeyError"):
            assert shown in played.stdout
        assert list(tmp_path.iterdir()) == []

    def test_its_folder_is_removed(self, tmp_path, monkeypatch):
        """Nothing stays behind, neither files nor processes."""
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        assert play().returncode == 0
        assert list(tmp_path.iterdir()) == []

    def test_the_shop_can_be_kept(self):
        """--keep leaves it open and says how it is looked at and stopped."""
        played = play("--keep")
        address = re.search(r"http://\S+:\d+/", played.stdout)
        stop = re.search(r"kill (\d+); rm -r (\S+)", played.stdout)
        assert address
        assert stop
        try:
            with urlopen(address[0], timeout=30) as front_page:
                assert front_page.status == 200
        finally:
            os.kill(int(stop[1]), signal.SIGTERM)
            shutil.rmtree(stop[2])


class TestChecking:
    """What is shown has been checked."""

    def test_a_day_that_is_complete_passes(self):
        """Each request once, each trouble under its own name."""
        demo.check(records(), 5)

    @pytest.mark.parametrize(
        ("spoil", "sentence"),
        [
            (lambda day: day.pop(0), "5 requests were made, and 4 records are there"),
            (lambda day: day[0].update(span_id="4"), "5 requests were made"),
            (lambda day: day[4].update(outcome="ok"), "one request with outcome killed, not 0"),
            (lambda day: day[0].update(outcome="error"), "one request with outcome error, not 2"),
            (lambda day: day[1].update(duration_ms=3.0), "the slow report was not recorded as slow"),
        ],
    )
    def test_whatever_is_missing_or_double_is_noticed(self, spoil, sentence):
        """With one sentence that says what."""
        day = records()
        spoil(day)
        with pytest.raises(DemoError, match=sentence):
            demo.check(day, 5)

    def test_what_never_comes_ends_the_wait(self, monkeypatch):
        """A wait has its limit, and its own sentence."""
        monkeypatch.setattr("server_tracing.demo.stage.PATIENCE", 0.0)
        with pytest.raises(DemoError, match="it did not come"):
            until(lambda: None, "it did not come")


class TestTrouble:
    """No traceback for what a user can get wrong."""

    def test_without_gunicorn_it_says_what_to_install(self, monkeypatch, capsys):
        """One sentence, exit code 1."""
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert demo.run() == 1
        assert capsys.readouterr().err.count("\n") == 1

    def test_a_shop_that_does_not_open_shows_what_gunicorn_says(self, tmp_path, monkeypatch):
        """Its log is in the message, because the folder is removed."""
        monkeypatch.setattr(Stage, "command", lambda self, bind: [sys.executable, "-c", "print('no way')"])
        stage = Stage(tmp_path)
        try:
            with pytest.raises(DemoError, match="no way"):
                stage.open()
        finally:
            stage.close()
