"""What holds for every test: nothing of this machine's settings counts, and folders give marks."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings

from server_tracing.journal import JournalError, open_map
from server_tracing.journal.locks import is_held
from server_tracing.journal.maps import look_at

FOREIGN = (
    "SERVER_TRACING_",
    "GUNICORN_",
    "UVICORN_",
    "AWS_XRAY_",
    "OTEL_",
    "APPLICATIONINSIGHTS_",
    "APPINSIGHTS_",
)
HERE = Path(__file__).resolve().parent

settings.register_profile("shared", deadline=None)  # a loaded machine is not a failure
settings.load_profile("shared")


# Begun in the background of a script: what tests start would inherit that, and could not be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def settings_of_this_machine_do_not_count(monkeypatch):
    """A variable set where the tests run decides none of them."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def what_is_logged_is_as_python_has_it():
    """Frameworks that another test set up may have the root logger tell more."""
    logging.getLogger().setLevel(logging.WARNING)


def pytest_collection_modifyitems(items):
    """What stands in servers/ and faults/ is marked so, and can be left out by its mark."""
    for item in items:
        for folder in ("servers", "faults"):
            if item.path.is_relative_to(HERE / folder):
                item.add_marker(folder)


def pytest_sessionfinish(session):
    """Journals of the servers that tests have killed do not stay in the machine's memory, nor does the socket
    that X-Ray's SDK opens when it is imported."""
    if "aws_xray_sdk.core" in sys.modules:
        sys.modules["aws_xray_sdk.core"].xray_recorder.emitter._socket.close()
    if hasattr(session.config, "workerinput"):  # one of several processes; the last to end tidies up
        return
    for folder in Path(f"/dev/shm/server-tracing-{os.geteuid()}").glob("*"):
        with contextlib.suppress(OSError, ValueError, JournalError):  # of another version, say
            journals = list(folder.glob("*.journal"))
            if (journals or is_old(folder)) and all(map(left_by_a_test, journals)):
                for file in folder.iterdir():
                    file.unlink()
                folder.rmdir()


def left_by_a_test(journal):
    """Whether a journal's worker is gone, and kept its state in the temporary directory; where that is still
    there, another run may be about to see who adopts it."""
    found = open_map(look_at(str(journal)), str(journal), read_only=True)
    try:
        state_dir = found.origin.state_dir
        temporary = state_dir.startswith(tempfile.gettempdir()) and not is_held(
            str(journal.with_suffix(".lock"))
        )
        return temporary and (not os.path.exists(state_dir) or is_old(journal.parent))
    finally:
        found.close()


def is_old(folder):
    """Whether nothing has come or gone in it for ten minutes."""
    return time.time() - folder.stat().st_mtime > 600
