"""Kills a process at a given step: before it executes a given line for the n-th time.

Nothing of this is in the package: a forked child traces itself and ends by SIGKILL, so that neither `finally`
nor anything else runs. What it had done until then is what the next one finds.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

PACKAGE = Path(__file__).resolve().parents[2] / "server_tracing"


OFTEN = 20


class Step(NamedTuple):
    """A line that is about to be executed for the n-th time."""

    file: str
    line: int
    time: int = 1

    def __str__(self) -> str:
        return f"{os.path.relpath(self.file, PACKAGE)}:{self.line} the {self.time}. time"


def steps(life: Callable[[], object], modules: Iterable[str]) -> list[Step]:
    """Every line of these modules that `life` comes to, each time, or of many times OFTEN and a few more."""
    reading, writing = os.pipe()
    files = {str(PACKAGE / name) for name in modules}
    if _fork() == 0:
        reached: dict[tuple[str, int], int] = {}

        def count(file: str, line: int) -> None:
            reached[file, line] = reached.get((file, line), 0) + 1

        def told() -> None:
            _traced(life, files, count)
            with open(writing, "w") as pipe:
                pipe.writelines(f"{file}:{line}:{times}\n" for (file, line), times in reached.items())

        _and_exit(told)
    os.close(writing)
    with open(reading) as pipe:
        lines = [line.split(":") for line in pipe.read().splitlines()]
    assert os.wait()[1] == 0, "this life ends badly without being killed"
    often = [(file, int(line), int(times)) for file, line, times in lines]
    return [Step(file, line, time) for file, line, n in often for time in range(n, 0, -max(1, n // OFTEN))]


def killed_at(step: Step, life: Callable[[], object]) -> bool:
    """Have a child live this life until it comes to `step`; was it killed there?"""
    child = _fork()
    if child == 0:
        left = Counter({(step.file, step.line): step.time})

        def kill(file: str, line: int) -> None:
            if (file, line) in left:
                left[file, line] -= 1
                if not left[file, line]:
                    os.kill(os.getpid(), signal.SIGKILL)

        _and_exit(lambda: _traced(life, {step.file}, kill))
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _traced(life: Callable[[], object], files: set[str], come_to: Callable[[str, int], None]) -> None:
    def in_function(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            come_to(frame.f_code.co_filename, frame.f_lineno)
        return in_function

    def in_call(frame: FrameType, _event: str, _: Any) -> Any:
        return in_function if frame.f_code.co_filename in files else None

    sys.settrace(in_call)
    try:
        life()
    finally:
        sys.settrace(None)


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: ours, in the child, are none
        return os.fork()


def _and_exit(run: Callable[[], object]) -> None:
    code = 1
    try:
        run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
