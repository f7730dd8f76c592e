"""`fault_from`: every exception fits into a frame, and none can break the request it is recorded for."""

from __future__ import annotations

import msgspec
import pytest

from server_tracing.capture.faults import CHAIN, FRAMES, MESSAGE, fault_from
from server_tracing.journal.ring import MAX_FRAME
from server_tracing.record import Fault


def raised(action: object, *arguments: object) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is, it is the subject
        action(*arguments)
    return caught.value


def chain(fault: Fault | None) -> list[Fault]:
    found = []
    while fault is not None:
        found.append(fault)
        fault = fault.cause
    return found


def dig(depth: int) -> None:
    if depth == 0:
        raise ValueError("bottom")
    dig(depth - 1)


def test_type_message_and_innermost_frame_are_the_exceptions_own() -> None:
    """The last frame is where it was raised."""
    fault = fault_from(raised(dig, 2))
    assert (fault.type, fault.message, fault.skipped) == ("ValueError", "bottom", 0)
    assert fault.frames[-1].function == "dig"
    assert fault.frames[-1].path == __file__
    assert fault.frames[-1].line == dig.__code__.co_firstlineno + 2


def test_types_outside_builtins_carry_their_module() -> None:
    """Two libraries' `Timeout` stay apart."""
    assert fault_from(msgspec.ValidationError("x")).type == "msgspec.ValidationError"


def test_an_explicit_cause_is_told_from_a_context() -> None:
    """`raise ... from` and an exception raised while handling another read differently."""

    def explicit() -> None:
        raise ValueError("outer") from KeyError("inner")

    def implicit() -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer")  # noqa: B904

    def suppressed() -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer") from None

    outer = fault_from(raised(explicit))
    assert outer.explicit
    assert outer.cause is not None
    assert outer.cause.type == "KeyError"
    outer = fault_from(raised(implicit))
    assert not outer.explicit
    assert outer.cause is not None
    assert fault_from(raised(suppressed)).cause is None


def test_a_very_deep_stack_keeps_its_two_ends() -> None:
    """Of a runaway recursion the entry, the last calls and the number between them are left."""
    fault = fault_from(raised(dig, 500))
    assert len(fault.frames) == FRAMES
    assert fault.skipped == 502 - FRAMES
    assert fault.frames[0].function.endswith("raised")
    assert fault.frames[-1].line == dig.__code__.co_firstlineno + 2


def test_an_endless_chain_ends() -> None:
    """Exceptions that are each other's cause are followed for a few steps only."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert len(chain(fault_from(first))) == CHAIN


def test_the_largest_fault_fits_into_a_frame() -> None:
    """Deep stacks, long messages and a long chain together stay below what the journal takes."""
    exc = raised(dig, 300)
    for _ in range(20):
        try:
            raise ValueError("m" * 1_000_000) from exc
        except ValueError as next_one:
            exc = next_one
    fault = fault_from(exc)
    assert len(fault.message) == MESSAGE
    assert len(msgspec.msgpack.encode(fault)) < MAX_FRAME


def test_an_exception_whose_text_raises_is_still_recorded() -> None:
    """`__str__` is the application's code and may fail in its own way."""

    class RudeError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    fault = fault_from(RudeError())
    assert fault.type.endswith("RudeError")
    assert fault.message == "(its __str__ raised)"


def test_a_class_that_lies_about_its_name_is_still_recorded() -> None:
    """Nothing an exception class does reaches the request."""

    class Meta(type):
        def __getattribute__(cls, name: str) -> object:
            if name == "__qualname__":
                raise RuntimeError("no")
            return super().__getattribute__(name)

    class NamelessError(Exception, metaclass=Meta):
        pass

    assert fault_from(NamelessError("x")).type == "(unknown)"


def test_lone_surrogates_become_escapes() -> None:
    """Undecodable file names stand in messages; msgpack takes only real text."""
    fault = fault_from(ValueError("name \udcff"))
    assert fault.message == "name \\udcff"
    assert msgspec.msgpack.encode(fault)
