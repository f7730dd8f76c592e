"""The WSGI recorder: one record for every call, and nothing else different for server or application."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from fake import Ended, FakeRecorder

from server_tracing.capture.wsgi import wrap
from server_tracing.record import Outcome

Application = Callable[..., Iterable[bytes]]


class Server:
    """A WSGI server for one request: sends the head before the first byte, closes what it got."""

    def __init__(self, **environ: Any) -> None:
        self.environ: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper, "QUERY_STRING": "", **environ}
        setup_testing_defaults(self.environ)
        self.started: list[tuple[Any, ...]] = []
        self.written: list[bytes] = []
        self.received: Any = None
        self.got: list[bytes] = []

    def start_response(self, *arguments: Any) -> Callable[[bytes], None]:
        self.started.append(arguments)
        return self.written.append

    def serve(self, app: Application, chunks: int | None = None) -> Server:
        self.received = app(self.environ, self.start_response)
        try:
            for number, chunk in enumerate(self.received):
                self.got.append(chunk)
                if chunks is not None and number + 1 == chunks:
                    raise BrokenPipeError
        finally:
            if hasattr(self.received, "close"):
                self.received.close()
        return self


def ok(start: Callable[..., Any], *headers: tuple[str, str]) -> Any:
    return start("200 OK", [("Content-Type", "text/plain"), *headers])


def hello(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    ok(start)
    return [b"hello", b" ", b"world"]


def served(app: Application, chunks: int | None = None, **environ: Any) -> tuple[Server, Ended]:
    recorder = FakeRecorder()
    server = Server(**environ)
    server.serve(wrap(app, recorder), chunks)
    return server, recorder.only()


def test_an_answer_is_one_record_with_its_status_and_bytes() -> None:
    """Handed over to the last chunk is `ok`."""
    server, ended = served(hello)
    assert server.got == [b"hello", b" ", b"world"]
    assert (ended.outcome, ended.status, ended.sent) == (Outcome.OK, 200, 11)


@pytest.mark.parametrize(
    ("chunks", "outcome", "sent"), [(None, Outcome.OK, 11), (1, Outcome.DISCONNECTED, 5)]
)
def test_a_server_may_go_twice_through_what_has_a_length(chunks, outcome, sent) -> None:
    """As gevent's pywsgi does, the first time only to add up the length: it gets the same both times."""

    class Adding(Server):
        def serve(self, app: Application, chunks: int | None = None) -> Server:
            def added(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
                body = app(environ, start)
                self.length = sum(len(chunk) for chunk in body)
                return body

            return super().serve(added, chunks)

    recorder, server = FakeRecorder(), Adding()
    with suppress(BrokenPipeError):
        server.serve(wrap(hello, recorder), chunks)
    assert server.length == 11
    ended = recorder.only()
    assert (ended.outcome, ended.status, ended.sent) == (outcome, 200, sent)


def test_what_the_client_sent_is_what_begins_the_record() -> None:
    """Target as sent, header names as HTTP has them, the peer's address."""
    _, ended = served(
        hello,
        REQUEST_METHOD="POST",
        RAW_URI="/a%20b?c=d",
        SERVER_PROTOCOL="HTTP/1.1",
        REMOTE_ADDR="10.0.0.9",
        REMOTE_PORT="4711",
        HTTP_X_REQUEST_START="t=1",
        CONTENT_LENGTH="3",
    )
    begun = ended.begun
    assert begun[:6] == ("POST", "/a%20b?c=d", "1.1", "http", "10.0.0.9", 4711)
    assert ("X-REQUEST-START", "t=1") in begun.headers
    assert ("CONTENT-LENGTH", "3") in begun.headers


def test_without_a_raw_target_it_is_put_together_again() -> None:
    """Servers that only tell the decoded path give the same target, escaped."""
    _, ended = served(hello, SCRIPT_NAME="/app", PATH_INFO="/caf\u00c3\u00a9 1", QUERY_STRING="x=1")
    assert ended.begun.target == "/app/caf%C3%A9%201?x=1"


def test_an_application_that_raises_is_an_error_the_server_answers() -> None:
    """The exception passes on as it is; the record has it, with the 500 that servers send."""
    error = ValueError("boom")

    def boom(environ: Any, start: Any) -> Iterable[bytes]:
        raise error

    recorder = FakeRecorder()
    with pytest.raises(ValueError, match="boom") as caught:
        Server().serve(wrap(boom, recorder))
    assert caught.value is error
    ended = recorder.only()
    assert (ended.outcome, ended.status, ended.details["fault"].type) == (Outcome.ERROR, 500, "ValueError")


def test_a_server_that_sends_all_or_nothing_sends_nothing_of_a_failure() -> None:
    """Under tornado a failure in mid-stream reaches no client, not even as a status."""
    recorder = FakeRecorder()
    with pytest.raises(RuntimeError):
        Server().serve(wrap(midstream, recorder, all_or_nothing=True))
    assert recorder.only()[1:4] == (Outcome.ERROR, 0, 0)


def midstream(environ: Any, start: Any) -> Iterator[bytes]:
    ok(start)
    yield b"first"
    raise RuntimeError("too late")


def test_a_failure_in_mid_stream_keeps_the_status_that_was_sent() -> None:
    """The client has a 200 by then, and some bytes."""
    recorder = FakeRecorder()
    with pytest.raises(RuntimeError):
        Server().serve(wrap(midstream, recorder))
    ended = recorder.only()
    assert ended[1:4] == (Outcome.ERROR, 200, 5)
    assert [frame.function.rpartition(".")[2] for frame in ended.details["fault"].frames] == ["midstream"]


def test_an_application_that_fails_before_its_first_byte_gets_a_500() -> None:
    """`start_response` alone sends nothing: the server can still answer."""

    def late(environ: Any, start: Any) -> Iterator[bytes]:
        ok(start)
        yield b""
        raise RuntimeError

    recorder = FakeRecorder()
    with pytest.raises(RuntimeError):
        Server().serve(wrap(late, recorder))
    assert recorder.only().status == 500


def test_a_server_that_stops_early_had_lost_its_client() -> None:
    """Closed before the last chunk is `disconnected`, with what was sent until then."""
    recorder = FakeRecorder()
    with pytest.raises(BrokenPipeError):
        Server().serve(wrap(hello, recorder), chunks=1)
    assert recorder.only()[1:4] == (Outcome.DISCONNECTED, 200, 5)


def test_a_response_cut_at_its_announced_length_is_complete() -> None:
    """Servers may stop at Content-Length without asking for the end."""

    def announced(environ: Any, start: Any) -> Iterable[bytes]:
        ok(start, ("Content-Length", "5"))
        return [b"hello", b"and more"]

    recorder = FakeRecorder()
    body = wrap(announced, recorder)(Server().environ, Server().start_response)
    next(iter(body))
    body.close()
    assert recorder.only().outcome == Outcome.OK


def test_an_answer_to_head_that_is_never_read_is_complete() -> None:
    """Nobody wants its body."""
    recorder = FakeRecorder()
    server = Server(REQUEST_METHOD="HEAD")
    wrap(hello, recorder)(server.environ, server.start_response).close()
    assert recorder.only()[1:4] == (Outcome.OK, 200, 0)


def test_close_is_called_once_and_what_it_raises_is_heard() -> None:
    """The application's `close` is the server's to call."""
    closed = []

    class Closing(list[bytes]):
        def close(self) -> None:
            closed.append(1)
            raise OSError("on close")

    def app(environ: Any, start: Any) -> Iterable[bytes]:
        ok(start)
        return Closing([b"x"])

    recorder = FakeRecorder()
    with pytest.raises(OSError, match="on close"):
        Server().serve(wrap(app, recorder))
    assert closed == [1]
    assert recorder.only().outcome == Outcome.OK


def test_len_is_there_exactly_when_the_application_has_one() -> None:
    """Servers derive a Content-Length from a single chunk."""
    assert len(served(hello)[0].received) == 3
    assert not hasattr(served(lambda e, s: iter(hello(e, s)))[0].received, "__len__")


def test_a_file_wrapper_stays_what_it_is() -> None:
    """Servers recognize it by its class to use sendfile; its close ends the record, and closes the file."""
    file = io.BytesIO(b"content")
    made = []

    def app(environ: Any, start: Any) -> Iterable[bytes]:
        ok(start, ("Content-Length", "7"))
        made.append(environ["wsgi.file_wrapper"](file))
        return made[0]

    server, ended = served(app)
    assert server.received is made[0]
    assert file.closed
    assert ended[1:4] == (Outcome.OK, 200, 7)


def test_a_file_whose_client_left_is_disconnected() -> None:
    """The server closes it while the broken pipe is on its way up."""

    def app(environ: Any, start: Any) -> Iterable[bytes]:
        ok(start)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"content"))

    recorder = FakeRecorder()
    with pytest.raises(BrokenPipeError):
        Server().serve(wrap(app, recorder), chunks=1)
    assert recorder.only().outcome == Outcome.DISCONNECTED


def test_the_old_write_is_counted() -> None:
    """What goes through `write` and what is returned add up."""

    def app(environ: Any, start: Any) -> Iterable[bytes]:
        write = ok(start)
        write(b"write")
        return [b"return"]

    server, ended = served(app)
    assert server.written == [b"write"]
    assert ended.sent == 11


def test_the_last_start_response_counts() -> None:
    """An application may replace its response with an error page, and passes exc_info to say so."""

    def app(environ: Any, start: Any) -> Iterable[bytes]:
        ok(start)
        try:
            raise ValueError
        except ValueError:
            start("503 Later", [], sys.exc_info())
        return [b"later"]

    server, ended = served(app)
    assert ended.status == 503
    assert len(server.started[1]) == 3


def test_the_standard_library_finds_nothing_to_complain_about() -> None:
    """wsgiref's validator holds on both sides, towards the server and towards the application."""
    recorder = FakeRecorder()

    def app(environ: Any, start: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(1)
        return hello(environ, start)

    server = Server(wsgi_version=(1, 0))
    del server.environ["wsgi.file_wrapper"]
    server.environ = {key: value for key, value in server.environ.items() if key != "wsgi_version"}
    server.serve(validator(wrap(validator(app), recorder)))
    assert recorder.only().outcome == Outcome.OK


def test_a_full_journal_leaves_the_application_as_it_is() -> None:
    """Without room for a record the application's own iterable is returned."""
    recorder = FakeRecorder(full=True)
    body = [b"mine"]
    assert wrap(lambda e, s: body, recorder)({}, print) is body


def test_an_odd_environment_costs_a_record_and_nothing_else() -> None:
    """What cannot be understood is passed on."""
    recorder = FakeRecorder()
    server = Server(REMOTE_PORT="not a number")
    assert server.serve(wrap(hello, recorder)).got == [b"hello", b" ", b"world"]
    assert not recorder.ended


@pytest.mark.parametrize(
    ("declared", "received"), [("12", 12), ("0", 0), ("", -1), ("many", -1), ("9" * 30, -1)]
)
def test_a_declared_length_of_the_request_is_its_bytes(declared: str, received: int) -> None:
    """However it ends; without a usable one nothing is said."""

    def failing(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        raise ValueError("boom")

    assert served(hello, CONTENT_LENGTH=declared)[1].received == received
    recorder = FakeRecorder()
    with pytest.raises(ValueError, match="boom"):
        Server(CONTENT_LENGTH=declared).serve(wrap(failing, recorder))
    assert recorder.only().received == received
