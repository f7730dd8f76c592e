"""The request hooks: whatever goes wrong in us, gunicorn and the configured hooks go on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fake import FakeRecorder

from server_tracing.capture.gunicorn_errors import begin_refusal, conclude, on_error
from server_tracing.capture.gunicorn_hooks import after, before, client
from server_tracing.capture.request_line import split_line
from server_tracing.record import Outcome


def request(**changes: Any) -> Any:
    known = {
        "method": "GET",
        "uri": "/a?b=c",
        "version": (1, 1),
        "scheme": "http",
        "peer_addr": ("10.0.0.9", 4711),
        "proxy_protocol_info": None,
        "headers": [("HOST", "shop")],
    }
    return SimpleNamespace(**(known | changes))


def response(**changes: Any) -> Any:
    return SimpleNamespace(**({"status_code": 200, "sent": 5} | changes))


class Hooks:
    """Both hooks around a recorder, with users' hooks that remember their calls."""

    def __init__(self, answered: bool = True, timed: bool = False) -> None:
        self.recorder = FakeRecorder()
        self.users: list[str] = []
        recorder: Any = self.recorder
        self.pre = before(recorder, lambda worker, req: self.users.append("pre"), timed)
        self.post = after(recorder, lambda exc: answered, lambda *four: self.users.append("post"), timed)

    def serve(self, req: Any, resp: Any, exc: BaseException | None = None) -> None:
        self.pre(None, req)
        if exc is None:
            self.post(None, req, {}, resp)
            return
        try:
            raise exc
        except BaseException:
            self.post(None, req, {}, resp)


def test_a_request_begins_and_ends() -> None:
    """In the hooks' order, with what gunicorn knows."""
    hooks = Hooks()
    hooks.serve(request(), response())
    ended = hooks.recorder.only()
    assert ended.begun[:6] == ("GET", "/a?b=c", "1.1", "http", "10.0.0.9", 4711)
    assert ended[1:5] == (Outcome.OK, 200, 5, 0)
    assert hooks.users == ["pre", "post"]


class Slotted:
    __slots__ = ("headers", "method", "peer_addr", "proxy_protocol_info", "scheme", "uri", "version")


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("req", [Slotted(), object(), request(version=None), request(proxy_protocol_info=5)])
def test_a_request_of_an_unknown_kind_costs_a_record_only(req: Any, timed: bool) -> None:
    """gunicorn does not guard `pre_request`: anything raised in it would be the client's 500."""
    hooks = Hooks(timed=timed)
    hooks.serve(req, response())
    assert hooks.users == ["pre", "post"]


@pytest.mark.parametrize("resp", [None, object(), response(status_code="x"), response(sent=None)])
def test_a_response_of_an_unknown_kind_still_ends_its_request(resp: Any) -> None:
    """Without it the request would look killed one day."""
    hooks = Hooks()
    hooks.serve(request(), resp)
    assert hooks.recorder.only().outcome == Outcome.OK
    assert hooks.users == ["pre", "post"]


def test_what_users_hooks_raise_reaches_gunicorn() -> None:
    """After ours have done their part."""
    recorder: Any = FakeRecorder()

    def fail(*arguments: Any) -> None:
        raise LookupError

    req = request()
    with pytest.raises(LookupError):
        before(recorder, fail, False)(None, req)
    with pytest.raises(LookupError):
        after(recorder, lambda exc: True, fail, False)(None, req, {}, response())
    assert recorder.only().outcome == Outcome.OK


def test_an_exception_that_gunicorn_answers_is_left_open_until_it_did() -> None:
    """Only `handle_error` knows the status."""
    hooks = Hooks(answered=True)
    req = request()
    hooks.serve(req, response(), ValueError("boom"))
    assert not hooks.recorder.ended
    recorder: Any = hooks.recorder
    conclude(recorder, req, ValueError("boom"), 500)
    assert hooks.recorder.only()[1:3] == (Outcome.ERROR, 500)


def test_an_exception_that_nobody_answers_ends_at_once() -> None:
    """The connection is closed, and there is no status."""
    hooks = Hooks(answered=False)
    hooks.serve(request(), response(), SystemExit(7))
    ended = hooks.recorder.only()
    assert ended[1:3] == (Outcome.ERROR, 0)
    assert ended.details["fault"].type == "SystemExit"


def test_processor_time_is_measured_where_it_is_asked_for() -> None:
    """And where a request has its thread to itself."""
    hooks = Hooks(timed=True)
    hooks.serve(request(), response())
    assert hooks.recorder.only().details["cpu"] >= 0


def test_a_full_journal_is_no_refused_request() -> None:
    """A request that found no room was counted already."""
    recorder: Any = FakeRecorder(full=True)
    req = request()
    before(recorder, lambda worker, req: None, False)(None, req)
    after(recorder, lambda exc: True, lambda *four: None, False)(None, req, {}, response())
    assert begin_refusal(recorder, req, None, ValueError(), "http") is None
    conclude(recorder, req, ValueError(), 500)
    assert recorder.ended == []


def test_a_refusal_that_cannot_be_understood_still_is_answered() -> None:
    """`handle_error` runs as before, and what it raises or returns is its own."""
    recorder: Any = FakeRecorder()
    cfg = SimpleNamespace(is_ssl=False)
    worker = SimpleNamespace(cfg=cfg, handle_error=lambda *four: "answered")

    class Strange(Exception):  # noqa: N818
        @property
        def __traceback__(self) -> Any:  # type: ignore[override]
            raise RuntimeError

    assert on_error(worker, recorder, lambda sock: 400)(None, object(), None, Strange()) == "answered"


def test_a_refused_request_has_begun_before_its_client_knows() -> None:
    """The worker may be killed as soon as the answer is out."""
    recorder: Any = FakeRecorder()
    open_then: list[int] = []
    cfg = SimpleNamespace(is_ssl=False)
    worker = SimpleNamespace(cfg=cfg, handle_error=lambda *four: open_then.append(len(recorder.open)))
    pages: Any = SimpleNamespace(answered=lambda sock: 400)
    on_error(worker, recorder, pages)(None, object(), None, ValueError())
    assert open_then == [1]
    assert recorder.only()[1:3] == (Outcome.REJECTED, 400)


def test_a_client_on_a_unix_socket_has_no_address() -> None:
    """gunicorn has a string there, bytes or nothing."""
    for peer in ("", b"", None):
        assert client(request(peer_addr=peer)) == ("", 0)


@pytest.mark.parametrize(
    ("read", "known"),
    [
        (b"GET /a?b HTTP/1.1\r\n", ("GET", "/a?b")),
        (b"\r\nGET /a", ("GET", "/a")),
        (b"GET", ("GET", "")),
        (b"GET /\xff", ("GET", "/\u00ff")),
        (b"\x16\x03\x01 x", ("", "")),
        (b"G\x1bT /", ("", "")),
        (b"x" * 5000, ("", "")),
        (b"", ("", "")),
    ],
)
def test_a_request_line_gives_what_it_can(read: bytes, known: tuple[str, str]) -> None:
    """Only what can be a method is taken for one."""
    assert split_line(read) == known
