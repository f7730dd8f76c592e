"""What happens to a worker, as lines of a log: it booted, its start-up failed, records were lost."""

from __future__ import annotations

from server_tracing.record import Event

from .schema import INFORMATION, MESSAGE, VERSION, WARNING, MessageData, cut

_SERIOUS = ("loss", "exit", "abort", "fail", "killed")


def message_data(event: Event) -> MessageData:
    """One event of a worker."""
    serious = event.exception is not None or event.what.startswith(_SERIOUS)
    text = f"{event.what}: {event.detail}" if event.detail else event.what
    return MessageData(
        VERSION,
        cut(text, MESSAGE),
        WARNING if serious else INFORMATION,
        {"worker": f"{event.worker_class} {event.worker_pid}".strip()},
    )
