"""What holds for every test: nothing of this machine's settings counts, and folders give marks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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


@pytest.fixture(autouse=True)
def settings_of_this_machine_do_not_count(monkeypatch):
    """A variable set where the tests run decides none of them."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)


def pytest_collection_modifyitems(items):
    """What stands in servers/ and faults/ is marked so, and can be left out by its mark."""
    for item in items:
        for folder in ("servers", "faults"):
            if item.path.is_relative_to(HERE / folder):
                item.add_marker(folder)
