"""The workers that call gunicorn's request hooks: sync, gthread, gevent and their kin.

A request begins in `pre_request` and ends in `post_request`. Where gunicorn answers in the application's
place it ends in `handle_error` (gunicorn_errors.py), which also is where refused requests go. The hooks that
were configured run as before: what they raise reaches gunicorn, what goes wrong here reaches nobody.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from sys import exc_info
from typing import TYPE_CHECKING, Any

from server_tracing.capture.faults import fault_from
from server_tracing.capture.gunicorn_errors import ErrorPages, cpu_of, on_error
from server_tracing.capture.gunicorn_http2 import watch_refused_streams
from server_tracing.capture.gunicorn_outcome import answers, ending, is_close, names_used
from server_tracing.capture.gunicorn_response import watch_error_stream, watch_responses
from server_tracing.capture.swallowed import noted, served
from server_tracing.frameworks import left_in
from server_tracing.record import Outcome

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Details, Recorder

HTTP_1_1 = (1, 1)
CODED = "HTTP_TRANSFER_ENCODING"

_OK, _ERROR = int(Outcome.OK), int(Outcome.ERROR)


def calls_hooks(worker: Any) -> bool:
    """Whether requests of this worker pass the hooks: told by its code, whatever it is called. Tornado's
    has a `handle_request` that does not; gevent's may hand everything to a server class."""
    hooked = "post_request" in names_used(worker, "handle_request")
    return hooked and getattr(worker, "server_class", None) is None


def attach_hooks(worker: Any, recorder: Recorder, cpu: bool = False) -> None:
    """Record every request of this worker from now on."""
    settings = worker.cfg
    shares_thread = hasattr(worker, "timeout_ctx")  # greenlets: a thread's time is nobody's own
    timed = cpu and not shares_thread
    served(worker.wsgi, recorder, os.environ.get("SCRIPT_NAME", ""))
    settings.set("pre_request", before(recorder, settings.pre_request, timed))
    settings.set("post_request", after(recorder, answers(worker), settings.post_request, timed))
    worker.handle_error = on_error(worker, recorder, ErrorPages())
    if shares_thread:
        watch_pools(recorder)
    watch_responses(recorder.clock, recorder.announce)
    watch_error_stream()
    watch_refused_streams(worker.cfg, recorder)


def watch_pools(recorder: Recorder) -> None:
    """Know the pools of greenlets that gevent's worker is about to make, one for each of its sockets: who
    looks for a request that is stuck finds it there, and no request has to say where it is."""
    module = sys.modules.get("gunicorn.workers.ggevent")
    pool = getattr(module, "Pool", None)
    if module is None or pool is None:
        return

    def noted(*arguments: Any, **named: Any) -> Any:
        made = pool(*arguments, **named)
        recorder.pools.add(made)
        return made

    module.Pool = noted  # type: ignore[attr-defined]


def before(
    recorder: Recorder, users: Callable[[Any, Any], object], timed: bool
) -> Callable[[Any, Any], None]:
    """The `pre_request` hook: ours, then the configured one."""
    begin = recorder.begin_text

    def pre_request(worker: Any, req: Any) -> None:
        try:
            peer = req.peer_addr
            if peer.__class__ is not tuple or req.proxy_protocol_info:
                peer = client(req)
            version = "1.1" if req.version == HTTP_1_1 else version_of(req)
            req.server_tracing = begin(
                req.method, req.uri, version, req.scheme, peer[0], peer[1], req.headers
            )
        except Exception:  # noqa: BLE001, S110 - a request of a kind not known here costs a record
            pass
        users(worker, req)

    def pre_request_timed(worker: Any, req: Any) -> None:
        with suppress(Exception):
            req.server_tracing_cpu = time.thread_time_ns()
        pre_request(worker, req)

    return pre_request_timed if timed else pre_request


def version_of(req: Any) -> str:
    """The version of HTTP as it is written: 1.0, 2."""
    major, minor = req.version
    return f"{major}.{minor}" if major < 2 else str(major)


def client(req: Any) -> tuple[str, int]:
    """Address and port of the client, as a PROXY line tells them or the socket; empty on a unix socket."""
    told = req.proxy_protocol_info
    if told and told.get("client_addr"):
        return told["client_addr"], told["client_port"]
    peer = req.peer_addr
    return (peer[0], peer[1]) if peer.__class__ is tuple else ("", 0)


def after(
    recorder: Recorder, answered: Callable[[BaseException], bool], users: Callable[..., object], timed: bool
) -> Callable[[Any, Any, Any, Any], None]:
    """The `post_request` hook: ours first, so that the duration is the server's and not the hook's.

    What `handle_error` is going to answer is left to it: only then is the status known.
    """
    end, left = recorder.end, left_in("environ")

    def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
        exc = exc_info()[1]
        try:
            slot = req.server_tracing
            if slot is not None:
                if exc is not None and is_close(exc):
                    exc = None
                status = slot.status or getattr(resp, "status_code", None) or 0
                if exc is None and not timed and status < 500:
                    body = received(environ) if "CONTENT_LENGTH" in environ or CODED in environ else 0
                    route = left(environ) if left else ""
                    end(slot, _OK, status, slot.sent or resp.sent, body, route)
                elif exc is None or slot.first_byte or hasattr(req, "stream") or not answered(exc):
                    settle(recorder, req, environ, resp, exc, left(environ) if left else "")
        except Exception:  # noqa: BLE001 - a response of a kind not known here
            end(getattr(req, "server_tracing", None), _ERROR if exc else _OK)
        users(worker, req, environ, resp)

    return post_request


def settle(
    recorder: Recorder, req: Any, environ: Any, resp: Any, exc: BaseException | None, route: str
) -> None:
    """End what did not go the usual way."""
    slot = req.server_tracing
    details: Details = {"cpu": cpu_of(req)}
    outcome, status = Outcome.OK, slot.status or getattr(resp, "status_code", 0)
    if exc is not None:
        outcome, reason, raised = ending(exc)
        answers_itself = outcome == Outcome.ERROR and hasattr(req, "stream")  # HTTP/2: no handle_error
        status = slot.status or (500 if answers_itself else 0)
        details |= {"reason": reason, "fault": fault_from(raised) if raised else None}
    elif status >= 500 and (fault := noted(environ)):
        outcome, details["fault"] = Outcome.ERROR, fault
    sent = slot.sent or getattr(resp, "sent", 0)
    recorder.end(slot, outcome, status, sent, received(environ), route, **details)


def received(environ: dict[str, Any]) -> int:
    """The length of the request's body, where its head tells."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        return int(length)
    return -1 if CODED in environ else 0
