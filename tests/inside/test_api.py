"""The names an application uses: few, lazy, and harmless where tracing is off."""

from __future__ import annotations

import subprocess
import sys

import server_tracing

SCRIPT = """
import sys, server_tracing
assert not any(name.startswith("server_tracing.") for name in sys.modules), "imported before it was used"
from server_tracing import current, headers, in_context, span
request = current()
request.annotate("a", 1)
request.user = "ann"
with span("work") as work:
    work.annotate("a", 1)
@span("more")
def more():
    return in_context(len)("abc")
assert (more(), headers(), request.trace_id, bool(request)) == (3, {}, "", False)
assert "server_tracing.worker" not in sys.modules and "server_tracing.capture" not in sys.modules
print("harmless")
"""


def test_there_are_few_names():
    """Fewer than ten, each with a line that says what it is for."""
    assert len(server_tracing.__all__) < 10
    for name in server_tracing.__all__:
        assert getattr(server_tracing, name).__doc__ or name == "__version__"
        assert name in dir(server_tracing)


def test_without_a_server_everything_is_harmless():
    """And neither worker nor recorder is even imported."""
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("harmless\n", "")
