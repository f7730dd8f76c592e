"""What faulthandler has written: the stacks of a process's threads, and of which signal it was about to die.

Its text is read as one reads anybody's: what does not look like a stack is passed over.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from server_tracing.record import Frame

from .stacks import MAX_FRAMES

MAX_TEXT = 1 << 20
SIGNALS = {
    "Segmentation fault": 11,
    "Aborted": 6,
    "Bus error": 7,
    "Floating-point exception": 8,  # as 3.14 has it
    "Floating point exception": 8,
    "Illegal instruction": 4,
}
_FATAL = re.compile(r"Fatal Python error: (.+)")
_THREAD = re.compile(r"(?:Current thread|Thread) 0x([0-9a-f]{1,16})\b")
_FRAME = re.compile(r'  File "(.*)", line (\d{1,9}) in (.*)')


class Dump(NamedTuple):
    """The latest that was written of each thread."""

    signal: int  # 0: it was not dying
    threads: dict[int, list[Frame]]  # by `threading.get_ident()`; the innermost frame stands last


def parse(text: str) -> Dump:
    """Read everything that was written, one dump after the other."""
    number, threads, frames = 0, {}, None
    for line in text[:MAX_TEXT].splitlines():
        if found := _FATAL.match(line):
            number, frames = SIGNALS.get(found[1], 0), None
        elif found := _THREAD.match(line):
            frames = threads[int(found[1], 16)] = list[Frame]()
        elif (found := _FRAME.match(line)) and frames is not None and len(frames) < MAX_FRAMES:
            frames.append(Frame(found[1], int(found[2]), found[3]))
    for frames in threads.values():
        frames.reverse()
    return Dump(number, threads)


def frames_for(dump: Dump, thread: int) -> list[Frame]:
    """The stack of a request's thread. Where that is not known, because the request shares it with others,
    that of the thread that was serving: whatever kept it kept all of them."""
    if thread in dump.threads:
        return dump.threads[thread]
    serving = [frames for frames in dump.threads.values() if any(map(serves, frames))]
    return serving[0] if len(serving) == 1 else []


def serves(frame: Frame) -> bool:
    """Whether a frame is where a server or we call an application."""
    of_ours = frame.function == "http" and frame.path.endswith("server_tracing/capture/asgi_http.py")
    of_gunicorn = frame.function == "handle_request" and "gunicorn" in frame.path
    return of_ours or of_gunicorn
