"""Exceptions that never reach the server: what is noted, what counts, and what may go wrong with it."""

from __future__ import annotations

from server_tracing.capture.swallowed import FAULT, note, note_handled, noted, watch_error_stream


class Stream:
    """A server's wsgi.errors."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, data: str) -> int:
        self.written.append(data)
        return len(data)


class RefusedError(Exception):
    """As frameworks have them."""

    status_code = 404


class UnreadableError(Exception):
    """Of somebody's making."""

    def __str__(self) -> str:
        raise RuntimeError

    @property
    def status_code(self) -> int:
        raise RuntimeError


def test_the_last_exception_noted_counts():
    """It is the one the response came of."""
    environ: dict[str, object] = {}
    note(environ, ValueError("first"))
    note(environ, KeyError("second"))
    fault = noted(environ)
    assert fault is not None
    assert (fault.type, fault.message) == ("KeyError", "'second'")


def test_what_is_being_handled_can_be_noted():
    """And where nothing is, nothing is."""
    scope: dict[str, object] = {}
    note_handled(scope)
    assert noted(scope) is None
    try:
        raise ValueError("while answering")
    except ValueError:
        note_handled(scope)
    assert noted(scope) is not None


def test_a_refusal_is_no_failure():
    """An exception that says 404 was meant as an answer, whatever became of it."""
    scope: dict[str, object] = {}
    try:
        raise RefusedError
    except RefusedError:
        note_handled(scope)
    assert noted(scope) is None


def test_nothing_that_is_noted_can_raise():
    """Neither the exception's code nor the carrier's is ours."""
    environ: dict[str, object] = {}
    try:
        raise UnreadableError
    except UnreadableError as error:
        note(environ, error)
        note_handled(environ)
    note(None, ValueError())  # type: ignore[arg-type]
    note({}, None)  # type: ignore[arg-type]
    assert FAULT in environ


def test_an_error_stream_remembers_what_was_being_handled_when_it_was_written_to():
    """Which is how Bottle and Falcon, and logging, tell of a failure; what is written is written."""
    watched = type("Watched", (Stream,), {"write": Stream.write})
    watch_error_stream(watched)
    quiet, loud = watched(), watched()
    assert quiet.write("all is well") == 11
    try:
        raise ValueError("not well")
    except ValueError:
        loud.write("traceback")
    assert (quiet.written, loud.written) == (["all is well"], ["traceback"])
    assert noted({"wsgi.errors": quiet}) is None
    fault = noted({"wsgi.errors": loud})
    assert fault is not None
    assert fault.message == "not well"
