"""Which trace a request belongs to, told from its begin alone.

The application asks while the request runs, the exporter when it has ended; both must say the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from server_tracing import identity
from server_tracing.config import Config
from server_tracing.forwarding import Trusted
from server_tracing.naming import Excluder, Namer
from server_tracing.propagation import believed, extract
from server_tracing.propagation.context import NOTHING, Context
from server_tracing.record import Begin, Origin
from server_tracing.texts import split_target, text

_begin = msgspec.msgpack.Decoder(Begin[Any]).decode  # of either kind: text and bytes tell themselves apart


class Heard(Struct, frozen=True):
    """A request's ids, what its caller said of the trace, and what sampling rules look at."""

    trace_id: int
    span_id: int
    context: Context
    method: str = ""
    host: str | None = None
    path: str = ""
    service: str = ""
    excluded: bool = False  # of it there will be no record


class Placement:
    """Places the requests of one worker."""

    def __init__(self, config: Config, origin: Origin, trusted_proxies: Iterable[str] = ()) -> None:
        proxies = config.capture.trusted_proxies
        self._trusted = Trusted(trusted_proxies if proxies is None else proxies)
        self._trust_context = config.trust_context
        self._propagation = config.propagation
        self._origin = origin
        self._service = Namer(config, origin.service).service
        self._excluded = Excluder(config.exclude).excluded

    def heard(self, payload: bytes) -> Heard:
        """What the begin in a journal's frame says."""
        begin = _begin(payload)
        headers = [(_latin(name).lower(), _latin(value)) for name, value in begin.headers]
        trace_id, span_id = identity.derive(self._origin, begin.number, begin.start)
        context = extract(headers, self._propagation) if self._believes(begin.client) else NOTHING
        host, path, query = split_target(text(begin.target), dict(headers).get("host"))
        trace_id = context.trace_id or trace_id
        excluded = self._excluded(begin.method, path, query, host or "")
        return Heard(trace_id, span_id, context, begin.method, host, path, self._service(host), excluded)

    def _believes(self, peer: str) -> bool:
        return believed(self._trust_context, self._trust_context != "always" and peer in self._trusted)


def _latin(value: str | bytes) -> str:
    """A header as it came: what is no ASCII must not become something that may be handed on."""
    return value if isinstance(value, str) else value.decode("latin-1")
