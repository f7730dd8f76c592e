"""What an exception says about a request: whose code raised it decides, and what it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from server_tracing.capture.gunicorn_outcome import answers, ending, is_close, words
from server_tracing.record import Outcome


class InvalidChunkSize(Exception):  # noqa: N818 - as gunicorn calls it
    pass


class NoMoreData(OSError):  # noqa: N818
    pass


class HTTP2StreamError(Exception):
    pass


class GreenletExit(BaseException):
    pass


InvalidChunkSize.__module__ = NoMoreData.__module__ = "gunicorn.http.errors"


def raised(exc: BaseException, *modules: str, function: str = "run") -> BaseException:
    """The exception as it is once it passed code of these modules, the first raised it."""

    def throw() -> None:
        raise exc

    step: Any = throw
    for number, module in enumerate(modules):
        body = f"def {function if not number else 'handle_request'}():\n    step()\n"
        if not number:
            body = f"def {function}():\n    raise exc\n"
        space: dict[str, Any] = {"__name__": module, "step": step, "exc": exc}
        exec(compile(body, module, "exec"), space)
        step = space["handle_request" if number else function]
    try:
        step()
    except BaseException as caught:
        return skip_this_frame(caught)
    raise AssertionError


def skip_this_frame(exc: BaseException) -> BaseException:
    assert exc.__traceback__ is not None
    return exc.with_traceback(exc.__traceback__.tb_next)


APP, SERVER = "shop.views", "gunicorn.workers.sync"


def test_what_the_application_raises_is_an_error() -> None:
    """The exception is kept."""
    exc = raised(ValueError("x"), APP, SERVER)
    assert ending(exc) == (Outcome.ERROR, "", exc)


@pytest.mark.parametrize("kind", [BrokenPipeError, ConnectionResetError, TimeoutError])
def test_an_application_with_a_broken_pipe_of_its_own_failed(kind: type[OSError]) -> None:
    """Its database left, not its client."""
    assert ending(raised(kind(), "redis.connection", APP, SERVER)).outcome == Outcome.ERROR
    assert ending(raised(kind(), "socket", APP, SERVER)).outcome == Outcome.ERROR


@pytest.mark.parametrize("kind", [BrokenPipeError, ConnectionResetError, NoMoreData, HTTP2StreamError])
def test_a_pipe_broken_under_the_server_is_the_clients(kind: type[Exception]) -> None:
    """Whether it was being written to or read from, by the application's wish or not."""
    assert ending(raised(kind(), "gunicorn.util", SERVER)).outcome == Outcome.DISCONNECTED
    assert ending(raised(kind(), "ssl", "gunicorn.util", SERVER)).outcome == Outcome.DISCONNECTED
    assert ending(raised(kind(), "gunicorn.http.body", APP, SERVER)).outcome == Outcome.DISCONNECTED


def test_a_body_that_is_no_http_is_refused() -> None:
    """The application only asked for it."""
    refused = ending(raised(InvalidChunkSize(), "gunicorn.http.body", APP, SERVER))
    assert refused == (Outcome.REJECTED, "invalid chunk size", None)


def test_an_abort_is_a_timeout_wherever_the_request_was() -> None:
    """gunicorn's signal handler raises SystemExit out of the middle of it."""
    exc = raised(SystemExit(1), "gunicorn.workers.base", APP, SERVER, function="handle_abort")
    assert ending(exc) == (Outcome.KILLED, "timeout", exc)


def test_an_abort_that_was_nobodys_timeout_says_what_our_hook_made_of_it() -> None:
    """It left word on the worker."""
    code = "def handle_abort(self): raise SystemExit(1)"
    namespace: dict[str, Any] = {"__name__": "gunicorn.workers.base"}
    exec(code, namespace)
    worker = SimpleNamespace(server_tracing_aborted="signal 6")
    with pytest.raises(SystemExit) as caught:
        namespace["handle_abort"](worker)
    assert ending(caught.value)[:2] == (Outcome.KILLED, "signal 6")


def test_a_quick_stop_is_an_exit() -> None:
    """The same by SIGQUIT; and what a graceful timeout does to greenlets."""
    quit_ = raised(SystemExit(0), "gunicorn.workers.base", APP, SERVER, function="handle_quit")
    assert ending(quit_)[:2] == (Outcome.KILLED, "exit")
    assert ending(raised(GreenletExit(), "gevent.hub", APP, SERVER))[:2] == (Outcome.KILLED, "exit")


def test_an_application_that_exits_failed() -> None:
    """`sys.exit` in a view is no signal."""
    assert ending(raised(SystemExit(7), APP, SERVER)).outcome == Outcome.ERROR


def test_gunicorns_own_stop_means_its_context() -> None:
    """Without one the connection is closed after a complete response; with one a stream failed."""
    stop = raised(StopIteration(), SERVER)
    assert is_close(stop)
    assert ending(stop).outcome == Outcome.OK
    failure = raised(RuntimeError("late"), APP, SERVER)
    stop.__context__ = failure
    assert not is_close(stop)
    assert ending(stop).exc is failure


def test_a_stop_iteration_of_the_applications_is_its_error() -> None:
    """A bare `next()` in a view."""
    exc = raised(StopIteration(), APP, SERVER)
    assert not is_close(exc)
    assert ending(exc).outcome == Outcome.ERROR


def test_which_exceptions_are_answered_shows_in_a_workers_code() -> None:
    """BaseException reaches `handle_error` where `handle` catches it, but for what gevent's worker drops."""

    class Catches:
        def handle(self) -> None:
            try:
                return
            except BaseException:
                return

    class Drops(Catches):
        def handle_request(self) -> None:
            try:
                return
            except GreenletExit:
                return

    assert answers(Catches())(SystemExit())
    assert not answers(Drops())(SystemExit())
    assert answers(Drops())(KeyboardInterrupt())
    assert not answers(SimpleNamespace())(SystemExit())
    assert answers(SimpleNamespace())(ValueError())
    assert not answers(SimpleNamespace())(OSError())


def test_reasons_are_words() -> None:
    """For people, and without anything of the request in them."""
    assert words(InvalidChunkSize("secret")) == "invalid chunk size"
    assert words(HTTP2StreamError()) == "http2 stream error"
