"""What gunicorn's responses say while they go out: the first byte, the status, the length of a sent file;
and what was wrong while an application wrote to its `wsgi.errors`.

The classes' own methods are wrapped, once per worker process. `Response.sent` counts what was written, as
the access log does; what `sendfile` sends is counted nowhere, so it is noted here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from server_tracing.capture import swallowed
from server_tracing.capture.announcing import Announce, merged

SLOT = "server_tracing"  # where a request carries its open record: an attribute costs 10 ns
RESPONSES = (("gunicorn.http.wsgi", "Response"), ("gunicorn.http2.response", "HTTP2Response"))


def watch_responses(clock: Callable[[], int], announce: Announce | None = None) -> None:
    """Note in a request's slot when its response begins, and how long a file was; have it say its trace."""
    for module, name in RESPONSES:
        response = getattr(sys.modules.get(module), name, None)
        own = vars(response) if response is not None else {}
        if "send_headers" in own:
            send = own["send_headers"] if announce is None else _announcing(own["send_headers"], announce)
            response.send_headers = _watching_head(send, clock)  # type: ignore[union-attr]
        if "sendfile" in own:
            response.sendfile = _watching_file(own["sendfile"])  # type: ignore[union-attr]


def watch_error_stream() -> None:
    """Every request has a stream of its own."""
    stream = getattr(sys.modules.get("gunicorn.http.wsgi"), "WSGIErrorsWrapper", None)
    if stream is not None:
        swallowed.watch_error_stream(stream)


def _watching_head(send: Callable[[Any], None], clock: Callable[[], int]) -> Callable[[Any], None]:
    def send_headers(response: Any) -> None:
        if response.headers_sent:  # as the wrapped one begins: called for every chunk, it is to stay cheap
            return
        send(response)
        try:
            slot = getattr(response.req, SLOT, None)
            if slot is not None:
                slot.first_byte = clock()
                slot.status = response.status_code or 0
        except Exception:  # noqa: BLE001, S110 - it has no status where the application never named one
            pass

    return send_headers


def _announcing(send: Callable[[Any], None], announce: Announce) -> Callable[[Any], None]:
    def send_headers(response: Any) -> None:
        with suppress(Exception):  # headers of a kind not known here go out as they are
            slot = getattr(response.req, SLOT, None)
            if slot is not None:
                response.headers = merged(response.headers, announce(slot))
        send(response)

    return send_headers


def _watching_file(send: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def sendfile(response: Any, respiter: Any) -> bool:
        sent = send(response, respiter)
        with suppress(Exception):  # a file of a kind not known here: the access log does not count it either
            slot = getattr(response.req, SLOT, None) if sent else None
            if slot is not None:
                slot.sent = _length(response, respiter)
        return sent

    return sendfile


def _length(response: Any, respiter: Any) -> int:
    """How much `sendfile` has sent; it leaves the file where it began."""
    if getattr(response, "_omits_body", False):  # HEAD, 204, 304; from gunicorn 24 on
        return 0
    if response.response_length is not None:
        return int(response.response_length)
    number = respiter.filelike.fileno()
    return os.fstat(number).st_size - os.lseek(number, 0, os.SEEK_CUR)
