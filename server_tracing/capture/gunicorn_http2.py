"""HTTP/2 requests that gunicorn refuses: it resets the stream, and neither hook nor application hears."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from server_tracing.capture.gunicorn_outcome import is_named, words

if TYPE_CHECKING:
    from server_tracing.capture.recorder import Recorder

NO_STATUS = 0  # RFC 9113, section 8.1.1: a malformed request is a stream error, and has no response


def watch_refused_streams(cfg: Any, recorder: Recorder) -> None:
    """Record the requests that cannot be made of a stream's headers, where HTTP/2 is spoken."""
    if "h2" not in getattr(cfg, "http_protocols", ()):  # a setting from gunicorn 25 on
        return
    from gunicorn.http2.request import HTTP2Request

    build = HTTP2Request.__init__

    def init(request: Any, stream: Any, cfg: Any, peer_addr: Any) -> None:
        try:
            build(request, stream, cfg, peer_addr)
        except Exception as exc:
            if is_named(exc, "ParseException", "ValueError"):
                note(recorder, request, stream, peer_addr, words(exc))
            raise

    HTTP2Request.__init__ = init


def note(recorder: Recorder, request: Any, stream: Any, peer: Any, reason: str) -> None:
    """One refused stream is one record."""
    with suppress(Exception):  # a stream that is not what it was costs a record
        pseudo = stream.get_pseudo_headers()
        host, port = (peer[0], peer[1]) if isinstance(peer, tuple) and peer else ("", 0)
        headers = [(str(name).upper(), str(value)) for name, value in stream.get_regular_headers()]
        method, target = pseudo.get(":method", ""), pseudo.get(":path", "")
        scheme = getattr(request, "scheme", None) or pseudo.get(":scheme", "")
        recorder.rejected(method, target, "2", scheme, host, port, headers, NO_STATUS, reason)
