"""What an exporter is: one method that takes finished records, or says that it could not.

Everything else an exporter may state as a class attribute; `traits` gives what is assumed otherwise. An
exporter that may block is run by a sender thread of its own, with back-off and a spool on disk behind it;
one that does not is run by the reader itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from server_tracing.config import Config
from server_tracing.record import Record
from server_tracing.sampling.central import Central


class ExportError(Exception):
    """The records, or some of them, were not taken.

    `permanent`: they never will be; they are counted as dropped for `reason`. Otherwise they are tried
    again, not before `retry_after` seconds when the backend said so. After a partial success `remaining`
    are those to try again and `refused` counts those that never will be taken (for `reason`, or each for its
    own where it maps reasons to counts); the rest was delivered. `remedy` is what a person can do about it.
    """

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: float | None = None,
        permanent: bool = False,
        reason: str = "refused",
        remaining: Sequence[Record] | None = None,
        refused: int | Mapping[str, int] = 0,
        remedy: str = "",
    ) -> None:
        super().__init__(message or reason)
        self.retry_after = retry_after
        self.permanent = permanent
        self.reason = reason
        self.remaining = remaining
        self.refused = refused if isinstance(refused, Mapping) else {reason: refused} if refused else {}
        self.remedy = remedy

    @property
    def told(self) -> str:
        """What is said aloud: what is wrong, and what can be done about it."""
        return f"{self}; {self.remedy}" if self.remedy else str(self)


class Exporter(Protocol):
    """Hands finished records to one place."""

    name: str

    def export(self, records: Sequence[Record]) -> None:
        """Deliver all of `records`, or raise ExportError."""


@runtime_checkable
class Resumable(Protocol):
    """An exporter that remembers, together with the records, how far it has stored a journal."""

    def export_up_to(self, records: Sequence[Record], source: str, position: int) -> None:
        """Deliver, and remember in the same breath that `source` is stored up to `position`."""

    def acked(self, source: str) -> int:
        """How far `source` is stored."""


@runtime_checkable
class Probing(Protocol):
    """An exporter that can say more of one delivery than that it did not fail."""

    def probe(self, record: Record) -> str:
        """Deliver `record` and say what came back, or raise ExportError."""


@runtime_checkable
class Tended(Protocol):
    """An exporter that has something to do beside exporting: rules to fetch, say."""

    def tend(self) -> float:
        """Do what is due, in the thread of the sender; in how many seconds something will be."""


@runtime_checkable
class Parting(Protocol):
    """An exporter that has something to say when its process ends."""

    def part(self) -> None:
        """Say it, once and briefly: whoever ends the process waits for a share of the time it has."""


class Setup(Struct, frozen=True):
    """What an exporter is made with."""

    config: Config
    options: dict[str, Any]  # its own table of the settings: [name]
    service: str
    state_dir: str
    central: Central | None = None  # X-Ray's rules, where they decide


class Traits(NamedTuple):
    """What an exporter says of itself, as class attributes of these names."""

    blocking: bool = True  # may wait for somebody else: gets its own thread and a spool
    sampled_only: bool = True  # gets only what sampling keeps
    running: bool = False  # is told of requests that take long, too, before they end
    max_batch: int = 500  # records
    max_age: float = 1.0  # seconds a record waits for others to travel with
    spool_size: int = 50 << 20  # bytes on disk for what cannot be delivered now; 0: it is dropped
    spool_age: float = 48 * 3600.0  # seconds, after which it is of no use any more


def traits(exporter: object) -> Traits:
    """The traits of an exporter."""
    given = {name: getattr(exporter, name) for name in Traits._fields if hasattr(exporter, name)}
    return Traits(**given)


def close_exporter(exporter: object) -> None:
    """Call its `close`, if it has one; nothing it does there is our trouble any more."""
    close = getattr(exporter, "close", None)
    if close is not None:
        with contextlib.suppress(Exception):
            close()
