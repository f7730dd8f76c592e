"""What can be known of a request that gunicorn refused while it was still reading it.

The parser keeps no half-read request, but the exception's traceback still holds the parser's frames: the
request as far as it was filled in, and the bytes that were being looked at.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

from server_tracing.capture.gunicorn_outcome import frames_of
from server_tracing.capture.request_line import split_line

BYTES_READ = ("line_bytes", "data", "buf")  # what the parsers of 21.2 to 27 call them
LINE = 8192  # as much of a request line as is looked at

Known = tuple[str, str, str, str, str, int, list[tuple[str, str]]]


def refusal(req: Any, addr: Any, exc: BaseException, scheme: str) -> Known:
    """Method, target, version, scheme, client, port and headers: what `Recorder.rejected` wants to know."""
    frames = frames_of(exc)
    parsed = first(req, getattr(exc, "req", None), *(frame.f_locals.get("self") for frame in frames))
    method, target = getattr(parsed, "method", None), getattr(parsed, "uri", None)
    if not method:
        method, target = request_line(frames)
    version = ".".join(map(str, getattr(parsed, "version", None) or ()))
    host, port = (addr[0], addr[1]) if isinstance(addr, tuple) and len(addr) > 1 else ("", 0)
    return method, target or "", version, scheme, host, port, headers_of(parsed, frames)


def is_served(exc: BaseException) -> bool:
    """Whether it comes from a request of an HTTP/2 connection, which has a record of its own."""
    return any(frame.f_code.co_name == "handle_http2_request" for frame in frames_of(exc))


def first(*candidates: Any) -> Any:
    """The first that looks like a request of gunicorn's."""
    return next((found for found in candidates if hasattr(found, "uri") and hasattr(found, "method")), None)


def request_line(frames: list[FrameType]) -> tuple[str, str]:
    """Method and target out of the bytes the parser had; empty where they are none."""
    for frame in frames:
        for name in BYTES_READ:
            read = frame.f_locals.get(name)
            if isinstance(read, (bytes, bytearray)) and read:
                return split_line(bytes(read[:LINE]))
    return "", ""


def headers_of(parsed: Any, frames: list[FrameType]) -> list[tuple[str, str]]:
    """Those that had been read when it was refused: a refused request keeps its trace."""
    for frame in frames:
        if frame.f_code.co_name == "parse_headers":
            return list(frame.f_locals.get("headers") or ())
    return list(getattr(parsed, "headers", None) or ())
