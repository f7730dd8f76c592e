"""What a process says when Python cannot any more: read from faulthandler's text, attached to requests."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from export_kit import Worker
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.export.stuck.deadman import DeadMansSwitch, free_signal
from server_tracing.export.stuck.dump import MAX_TEXT, frames_for, parse
from server_tracing.export.stuck.lastwords import LastWords
from server_tracing.journal.words import erase, heard
from server_tracing.record import Frame, Kind

CRASHED = """Fatal Python error: Segmentation fault

Current thread 0x00007f21f3fff6c0 (most recent call first):
  File "/srv/shop/views.py", line 12 in checkout
  File "/srv/gunicorn/workers/gthread.py", line 30 in handle_request

Thread 0x00007f21fbfff6c0 [pool] (most recent call first):
  File "/usr/lib/python3.12/threading.py", line 355 in wait
  ...

Extension modules: msgspec._core (total: 1)
"""
CHECKOUT = [
    Frame("/srv/gunicorn/workers/gthread.py", 30, "handle_request"),
    Frame("/srv/shop/views.py", 12, "checkout"),
]


def test_a_crash_is_read():
    """Of which signal, and where each thread was, the innermost frame last."""
    dump = parse(CRASHED)
    assert dump.signal == 11
    assert dump.threads[0x7F21F3FFF6C0] == CHECKOUT
    assert [frame.function for frame in dump.threads[0x7F21FBFFF6C0]] == ["wait"]


def test_the_latest_word_counts():
    """First it was held, and then it crashed."""
    held = CRASHED.partition("\n\n")[2].replace("checkout", "basket")
    assert parse(held).signal == 0
    assert parse(held + CRASHED).threads[0x7F21F3FFF6C0] == CHECKOUT


def test_a_request_that_shares_its_thread_gets_that_of_the_one_that_served():
    """If there is only one."""
    assert frames_for(parse(CRASHED), 0) == CHECKOUT
    twice = CRASHED.replace('threading.py", line 355 in wait', 'gunicorn/x.py", line 1 in handle_request')
    assert frames_for(parse(twice), 0) == []
    assert frames_for(parse(""), 0) == []


@given(st.text() | st.lists(st.sampled_from(CRASHED.splitlines(keepends=True))).map("".join))
def test_any_text_is_read(text):
    """Whoever wrote it."""
    assert all(len(frames) <= 100 for frames in parse(text).threads.values())


def test_a_very_long_text_is_read_to_a_bound():
    """A journal's file is anybody's."""
    frames = '  File "/x.py", line 1 in f\n' * (3 * MAX_TEXT // 28)
    assert len(parse("Thread 0x1 (most recent call first):\n" + frames).threads[1]) == 100


def test_what_the_interpreter_itself_writes_is_understood():
    """A real crash of this very Python."""
    crash = "import ctypes, faulthandler\ndef crash(): ctypes.string_at(0)\nfaulthandler.enable()\ncrash()"
    died = subprocess.run([sys.executable, "-c", crash], capture_output=True, text=True)
    assert died.returncode == -signal.SIGSEGV
    dump = parse(died.stderr)
    assert dump.signal == signal.SIGSEGV
    assert ["crash" in [frame.function for frame in frames] for frames in dump.threads.values()] == [True]


@pytest.fixture
def file():
    with tempfile.TemporaryFile() as made:
        yield made.fileno()


def test_the_switch_goes_off_while_native_code_holds_the_interpreter(file):
    """Nobody sets it back, and nobody of Python's has to do anything."""
    number = free_signal()
    assert number is not None
    faulthandler.register(number, file, all_threads=True, chain=False)
    switch = DeadMansSwitch(number, threading.get_native_id())
    try:
        switch.hold(0.2)
        sleep_with_the_interpreter_held = ctypes.PyDLL(None).usleep
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            sleep_with_the_interpreter_held(300_000)
        assert "sleep_with" not in heard(file)
        assert test_the_switch_goes_off_while_native_code_holds_the_interpreter.__name__ in heard(file)
        erase(file)
        for _ in range(30):
            switch.hold(0.2)
            time.sleep(0.01)
        assert heard(file) == ""
    finally:
        switch.close()
        faulthandler.unregister(number)


def watching(worker: Worker, file: int, after: float = 5.0) -> LastWords:
    return LastWords(worker.journal, worker.flying, after, lambda: file, clock=worker.clock.ns)


def test_a_request_that_was_held_gets_its_stack_when_the_interpreter_is_free_again(file):
    """Its own thread's, once; of what is not stuck nothing is said, and the file is empty again."""
    worker = Worker()
    worker.begin("/stuck")
    worker.wake(10.0)
    worker.begin("/young")
    worker.wake(0.1)
    words = watching(worker, file)
    os.write(file, CRASHED.replace("7f21f3fff6c0", f"{threading.get_ident():x}").encode())
    words.begin()
    words(0.0)
    words(1.0)
    words.close()
    assert [frame.kind for frame in worker.journal.frames(0)].count(Kind.STACK) == 1
    worker.wake(1.0)
    stuck, young = worker.source.joiner.open.values()
    assert (stuck.stack.frames, young.stack) == (CHECKOUT, None)
    assert heard(file) == ""


DOING = """
import faulthandler, os, signal, sys, tempfile
from server_tracing.export.stuck import lastwords
from server_tracing.journal import words
{before}
file = tempfile.TemporaryFile()
lastwords.watch_crashes(file.fileno())
print(int(faulthandler.is_enabled()), flush=True)
if os.fork() == 0: os.kill(os.getpid(), signal.SIGSEGV)
os.wait()
print(len(words.heard(file.fileno())) > 0)
"""


@pytest.mark.parametrize(
    ("before", "enabled", "written"),
    [
        ("", "1", "True"),
        ("faulthandler.enable(open(os.devnull, 'w'))", "1", "False"),
        ("signal.signal(signal.SIGSEGV, lambda *args: os._exit(1))", "0", "False"),
    ],
    ids=["nobody else", "the application's own faulthandler", "somebody's handler"],
)
def test_a_handler_of_somebody_elses_stays(before, enabled, written):
    """Of the application, or of native code like a JVM's."""
    done = subprocess.run(
        [sys.executable, "-c", DOING.format(before=before)], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.split() == [enabled, written], done.stderr


def test_signals_that_somebody_uses_are_left_alone():
    """The next one is taken."""
    first = free_signal()
    before = signal.signal(first, lambda *args: None)
    try:
        assert free_signal() == first - 1
    finally:
        signal.signal(first, before)
    taken = {
        number: signal.signal(number, signal.SIG_IGN)
        for number in range(signal.SIGRTMAX - 14, signal.SIGRTMAX - 4)
    }
    try:
        assert free_signal() is None
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
