"""A timer of the kernel's that goes off when nobody sets it back: it needs no thread and no interpreter.

faulthandler has one like it, but only one per process, which the application may use itself; of the kernel's
there are as many as anybody wants (`timer_create`, POSIX). Its signal goes to one thread (SIGEV_THREAD_ID,
Linux), so that no system call of the application's is interrupted. Not inherited by a forked child.
"""

from __future__ import annotations

import ctypes
import signal
import time

SIGEV_THREAD_ID = 4  # linux/signal.h
FREE = range(5, 15)  # below SIGRTMAX: the first of these that nobody has taken


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class _Sigevent(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("padding", ctypes.c_byte * 64),
    )


class DeadMansSwitch:
    """Sends `number` to the thread `native_id` of this process when `hold` was not called again in time."""

    def __init__(self, number: int, native_id: int) -> None:
        library = _library()
        event = _Sigevent(number=number, notify=SIGEV_THREAD_ID, thread=native_id)
        self._timer = ctypes.c_void_p()
        if library.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)):
            raise OSError(ctypes.get_errno(), "timer_create")
        self._set = library.timer_settime
        self._delete = library.timer_delete
        self._seconds = -1.0
        self._value: object = None

    def hold(self, seconds: float) -> None:
        """Not for another so many seconds; 0: never."""
        if seconds != self._seconds:  # made once: it is the same every time, and takes 9 us
            whole = int(seconds)
            value = _Itimerspec(_Timespec(0, 0), _Timespec(whole, int((seconds - whole) * 1e9)))
            self._seconds, self._value = seconds, ctypes.pointer(value)
        self._set(self._timer, 0, self._value, None)

    def close(self) -> None:
        """Give the timer back."""
        self._delete(self._timer)


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "timer_create"):  # glibc before 2.34
        library = ctypes.CDLL("librt.so.1", use_errno=True)
    library.timer_settime.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    library.timer_delete.argtypes = (ctypes.c_void_p,)
    return library


def free_signal() -> int | None:
    """A real-time signal that nobody uses."""
    caught = caught_signals()
    for below in FREE:
        number = signal.SIGRTMAX - below
        if not caught >> number - 1 & 1 and signal.getsignal(number) == signal.SIG_DFL:
            return number
    return None


def caught_signals() -> int:
    """The signals for which this process has handlers of any kind, one bit each; all, if that is not told."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            found = next(line for line in file if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return ~0
    return int(found.split()[1], 16)
