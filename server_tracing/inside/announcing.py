"""What the response to a request says of its trace: X-Amzn-Trace-Id, and the W3C's traceresponse.

The caller's trace id, whatever was decided; the decision in X-Amzn-Trace-Id where the caller asked for it
(`Sampled=?`), in the flags of traceresponse always. So a request is decided on when its response begins: once
and by the same rules, with the same note in the journal, as when the application asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from server_tracing.inside.live import Live, opened
from server_tracing.propagation import response

if TYPE_CHECKING:
    from server_tracing.inside.host import Host, Slot


def announcer(host: Host) -> Callable[[Slot], list[tuple[str, str]]]:
    """The function that says it for the requests of this worker; what goes wrong says nothing."""

    def announce(slot: Slot) -> list[tuple[str, str]]:
        try:
            live: Live = slot.live or opened(slot, host)
            return response(live.outgoing(0), live.heard.span_id)
        except Exception:  # noqa: BLE001 - a response goes out as it is
            return []

    return announce
