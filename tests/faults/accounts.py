"""The accounting identity, asked of `server-tracing health` as an operator would."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import PYTHON, environment

Done = subprocess.CompletedProcess[str]


def command(name: str, *options: str, env: Mapping[str, str] | None = None) -> Done:
    """A command of ours, run to its end."""
    argv = [PYTHON, "-m", "server_tracing.cli", name, *options]
    return subprocess.run(argv, env=environment(env or {}), capture_output=True, text=True, timeout=600)


def recover(state_dir: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """Deliver what is left, with these settings; there may be nothing left afterwards."""
    done = command("recover", "--json", "--state-dir", str(state_dir), env=env)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def accounts(state_dir: Path, env: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """What became of every request, by exporter, once it is sure that it adds up."""
    done = command("health", "--json", "--state-dir", str(state_dir), env=env)
    assert done.returncode == 0, (done.stdout, done.stderr)
    found = {one["exporter"]: one for one in json.loads(done.stdout)["exporters"]}
    for one in found.values():
        parts = [one[name] for name in ("excluded", "in_flight", "unsampled", "delivered", "pending")]
        assert one["seen"] == sum(parts) + sum(one["dropped"].values()), one
    return found
