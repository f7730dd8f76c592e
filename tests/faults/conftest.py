"""What tests of faults share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture
def own_memory() -> Iterator[dict[str, str]]:
    """Settings for journals in shared memory that no other run of tests on this machine tidies up."""
    with tempfile.TemporaryDirectory(prefix="server-tracing-", dir="/dev/shm") as folder:
        yield {"SERVER_TRACING_JOURNAL_DIR": folder}
