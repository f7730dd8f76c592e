"""Exceptions: chains, deep stacks, and what is none."""

from __future__ import annotations

import pytest

from server_tracing.export.azure.failures import MOST_CAUSES, MOST_FRAMES, exception_data, is_exception
from server_tracing.record import ExceptionInfo, Frame


def chain(length: int) -> ExceptionInfo:
    info = None
    for number in range(length, 0, -1):
        info = ExceptionInfo(f"E{number}", "m", cause=info)
    assert info is not None
    return info


def test_a_chain_is_told_from_the_outermost_in():
    """Each names the one that was raised from it, as a number."""
    told = exception_data(chain(3), {}).exceptions
    assert [(one.id, one.outerId, one.typeName) for one in told] == [
        (1, 0, "E1"),
        (2, 1, "E2"),
        (3, 2, "E3"),
    ]


def test_a_chain_without_end_has_one():
    """Ten causes explain enough."""
    assert len(exception_data(chain(100), {}).exceptions) == MOST_CAUSES


def test_of_a_stack_that_is_too_deep_both_ends_are_told():
    """Where it was raised, and where it came from; the levels say what is missing."""
    frames = [Frame("a.py", line, "f") for line in range(1000)]
    (one,) = exception_data(ExceptionInfo("RecursionError", "m", frames=frames), {}).exceptions
    assert len(one.parsedStack) == MOST_FRAMES
    assert (one.parsedStack[0].line, one.parsedStack[-1].line) == (999, 0)
    assert (one.parsedStack[0].level, one.parsedStack[-1].level) == (0, 999)
    assert one.hasFullStack is False


def test_a_stack_of_long_names_is_cut_where_it_is_full():
    """The innermost frames are what is looked at."""
    frames = [Frame("p" * 2000, line, "f" * 2000) for line in range(90)]
    (one,) = exception_data(ExceptionInfo("E", "m", frames=frames), {}).exceptions
    assert 10 < len(one.parsedStack) < 90
    assert one.parsedStack[0].line == 89
    assert (len(one.parsedStack[0].method), len(one.parsedStack[0].fileName)) == (1024, 1024)
    assert one.hasFullStack is False


def test_a_frame_without_a_name_has_one():
    """The service rejects exceptions with one that has none; other SDKs' stacks may."""
    (one,) = exception_data(ExceptionInfo("E", "m", frames=[Frame("a", 1, "")]), {}).exceptions
    assert one.parsedStack[0].method == "<unknown>"


def test_where_there_are_no_frames_the_text_is_told():
    """Either of the two must be there."""
    (one,) = exception_data(ExceptionInfo("E", "", "the stack"), {}).exceptions
    assert (one.stack, one.parsedStack, one.message) == ("the stack", [], "E")


@pytest.mark.parametrize(
    ("info", "is_one"),
    [
        (ExceptionInfo("KeyError", "x"), True),
        (ExceptionInfo("requests.exceptions.ConnectionError", "x"), True),
        (ExceptionInfo("error", "x", frames=[Frame("a", 1, "f")]), True),
        (ExceptionInfo("error", "deadline"), False),
        (ExceptionInfo("NOT_FOUND", ""), False),
        (ExceptionInfo("status 7", ""), False),
        (ExceptionInfo("", "x"), False),
    ],
)
def test_a_status_is_no_exception(info, is_one):
    """OpenTelemetry's and gRPC's statuses fail a span; there is nothing to show of them."""
    assert is_exception(info) is is_one
