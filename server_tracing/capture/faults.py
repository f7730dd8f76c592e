"""An exception as it travels: `fault_from(exc)`, bounded in every direction, never raising.

Source lines are not read here: that is file I/O, and belongs to the exporter thread. The bounds keep the
largest fault below the largest frame the journal takes.
"""

from __future__ import annotations

from types import TracebackType

from server_tracing.record import Fault, Frame

CHAIN = 5  # exceptions: the one raised and those it came from
FRAMES, CAUSE_FRAMES = (
    50,
    16,
)  # of the one raised, and of each before it; the middle of a longer stack is left out
MESSAGE, CAUSE_MESSAGE = 2048, 512  # characters
NAME, PATH = 128, 256


def fault_from(exc: BaseException) -> Fault:
    """The exception, its stack and what it was raised from."""
    try:
        return _fault(exc, CHAIN, FRAMES, MESSAGE)
    except Exception:  # noqa: BLE001 - an exception class can be as hostile as its author likes
        return Fault(_type_name(type(exc)), "(cannot be read)")


def application_fault(error: BaseException) -> Fault:
    """The same without the first frame of its stack, which is the recorder's own."""
    fault = fault_from(error)
    del fault.frames[:1]
    return fault


def _fault(exc: BaseException, chain: int, frames: int, message: int) -> Fault:
    kept, skipped = _stack(exc.__traceback__, frames)
    origin = exc.__cause__
    explicit = origin is not None
    if origin is None and not exc.__suppress_context__:
        origin = exc.__context__
    cause = (
        _fault(origin, chain - 1, CAUSE_FRAMES, CAUSE_MESSAGE) if origin is not None and chain > 1 else None
    )
    return Fault(_type_name(type(exc)), _message(exc, message), kept, cause, explicit, skipped)


def _stack(traceback: TracebackType | None, limit: int) -> tuple[list[Frame], int]:
    """The frames, innermost last; of too many the first and the last."""
    entries = []
    while traceback is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    skipped = len(entries) - limit
    if skipped > 0:
        half = limit // 2
        del entries[half : half + skipped]
    return [_frame(entry) for entry in entries], max(0, skipped)


def _frame(entry: TracebackType) -> Frame:
    code = entry.tb_frame.f_code
    name = getattr(code, "co_qualname", code.co_name)  # qualified from Python 3.11 on
    return Frame(_plain(code.co_filename)[-PATH:], entry.tb_lineno or 0, _plain(name)[-NAME:])


def _message(exc: BaseException, limit: int) -> str:
    try:
        return _plain(str(exc)[:limit])
    except Exception:  # noqa: BLE001 - __str__ is the application's code
        return "(its __str__ raised)"


def _type_name(kind: type[BaseException]) -> str:
    try:
        module, name = kind.__module__, kind.__qualname__
        return _plain(name if module == "builtins" else f"{module}.{name}")[:NAME]
    except Exception:  # noqa: BLE001 - so is a metaclass
        return "(unknown)"


def _plain(text: str) -> str:
    """Text that can be encoded: lone surrogates, as in undecodable file names, become escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
