"""Settings that outlive the process that read them, for as long as its supervisor lives."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from server_tracing import config, last_good

OWN = last_good.identity(os.getpid()) or ""
DEAD = "1-1"  # process 1 was born at the first tick of no boot


@pytest.fixture
def loaded(tmp_path: Path) -> config.Loaded:
    return config.load({"SERVER_TRACING_SERVICE": "shop", "SERVER_TRACING_SAMPLING_RATE": "5%"}, tmp_path)


def test_what_is_kept_is_recalled(tmp_path: Path, loaded: config.Loaded) -> None:
    """All of it, by the same supervisor's name, and by no other."""
    last_good.keep(loaded, OWN, str(tmp_path / "state"))
    recalled = last_good.recall(OWN, str(tmp_path / "state"))
    assert recalled is not None
    assert recalled.config == loaded.config
    assert last_good.recall(DEAD, str(tmp_path / "state")) is None


def test_objects_given_in_code_are_not_kept(tmp_path: Path) -> None:
    """They cannot be written down; the process goes on without a word."""
    given = config.load({}, tmp_path, {"azure": {"processors": [print]}})
    last_good.keep(given, OWN, str(tmp_path / "state"))
    assert last_good.recall(OWN, str(tmp_path / "state")) is None


def test_it_is_nobody_elses_to_read(tmp_path: Path, loaded: config.Loaded) -> None:
    """Settings hold keys."""
    last_good.keep(loaded, OWN, str(tmp_path / "state"))
    (path,) = (tmp_path / "state").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_goes_with_the_supervisor(tmp_path: Path, loaded: config.Loaded) -> None:
    """Files named by a pid would grow for ever."""
    folder = tmp_path / "state"
    last_good.keep(loaded, DEAD, str(folder))
    last_good.keep(loaded, OWN, str(folder))
    assert [path.name for path in folder.iterdir()] == [f"settings-{OWN}.json"]


def test_what_is_somebody_elses_stays(tmp_path: Path, loaded: config.Loaded) -> None:
    """And keeps no server from starting."""
    for name in (
        "settings-mine.json",
        "settings-",
        "settings-1-1.bak",
        f"settings-{OWN}.17",
        "settings-1-1.x",
    ):
        (tmp_path / name).touch()
    tmp_path.chmod(0o700)
    last_good.keep(loaded, OWN, str(tmp_path))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        "settings-mine.json",
        "settings-",
        "settings-1-1.bak",
        "settings-1-1.x",
        f"settings-{OWN}.json",
    }


@pytest.mark.parametrize("garbage", [b"", b"{", b'{"sampling": 5}', b"\xff"])
def test_garbage_is_as_good_as_nothing(tmp_path: Path, garbage: bytes) -> None:
    """Then the process gives up, with the sentence it would have given up with."""
    (tmp_path / f"settings-{OWN}.json").write_bytes(garbage)
    assert last_good.recall(OWN, str(tmp_path)) is None


def test_a_directory_that_cannot_be_had_costs_nothing(tmp_path: Path, loaded: config.Loaded) -> None:
    """Only the net."""
    (tmp_path / "state").write_text("a file")
    last_good.keep(loaded, OWN, str(tmp_path / "state"))
    assert last_good.recall(OWN, str(tmp_path / "state")) is None


def test_a_process_started_by_hand_has_no_supervisor() -> None:
    """Only those that multiprocessing spawned have."""
    assert last_good.supervisor() is None
    assert last_good.identity(2**22 + 1) is None
