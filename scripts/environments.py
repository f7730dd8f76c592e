"""Virtual environments for the scripts beside this file: made once, used again until something changes.

Needs nothing but a Python with `venv`; everything else comes from the package index pip is set up for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# What is installed is compiled, what stands in a clone may not be, and every server that a test starts would
# compile it anew: the tests of a file of servers take 65 s instead of 90 (ran).
KEPT = REPOSITORY / ".cache" / "compiled"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(KEPT)
shutil.rmtree(KEPT.joinpath(*Path(tempfile.gettempdir()).parts[1:]), ignore_errors=True)  # of tests long gone
# No compiler is asked for:
COMPILED = "cryptography,gevent,httptools,msgspec,psutil,pydantic-core,rpds-py,watchfiles,zttp"


def say(*words: object) -> None:
    """Tell whoever is watching what happens now."""
    print("==", *words, flush=True)


def make(
    name: str, groups: Sequence[str] = (), packages: Sequence[str] = (), python: str = sys.executable
) -> Path:
    """The interpreter of `.venv-<name>`, where this project is installed editable with what it needs."""
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit("This Python cannot make virtual environments (apt-get install python3-venv adds that).")
    folder = REPOSITORY / f".venv-{name}"
    stamp, interpreter = folder / "made-of", folder / "bin" / "python"
    recipe = fingerprint(python, [*groups, *packages])
    if interpreter.exists() and stamp.is_file() and stamp.read_text() == recipe:
        return interpreter
    say(f"Making {folder.name} with Python {recipe[2:].split()[0]}:", ", ".join([*groups, *packages]))
    run(python, "-m", "venv", "--clear", folder)
    pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    run(*pip, "--upgrade", "pip>=25.1")  # the first that knows dependency groups
    named = [f"--group={group}" for group in groups]
    run(*pip, f"--only-binary={COMPILED}", *named, "--editable", REPOSITORY, *packages)
    stamp.write_text(recipe)
    return interpreter


def fingerprint(python: str, wanted: list[str]) -> str:
    """All that an environment is made of; when it changes, the environment is made anew."""
    project = (REPOSITORY / "pyproject.toml").read_bytes()
    return json.dumps([version_of(python), wanted, hashlib.sha256(project).hexdigest()])


def version_of(python: str) -> str:
    """The version of an interpreter, in full."""
    if python == sys.executable:
        return sys.version
    return subprocess.check_output([python, "-c", "import sys; print(sys.version)"], text=True)


def run(*command: object) -> None:
    """Run a command that has to succeed."""
    subprocess.run([str(word) for word in command], check=True, cwd=REPOSITORY)
