"""One attempt to hand records to an exporter, and how long to wait before the next one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from server_tracing.export.exporter import ExportError
from server_tracing.record import Record

POISON = 3  # attempts that may end in an exception nobody expected; after them the records are dropped


class Verdict(NamedTuple):
    """What an attempt came to: what `remaining` does not hold was delivered, but for what was `refused`."""

    remaining: Sequence[Record] = ()
    refused: Mapping[str, int] = {}  # requests that will never be taken, by reason
    lost: bool = False  # none of what does not remain was delivered
    reason: str = ""
    error: ExportError | None = None  # why something remains
    unexpected: bool = False


def attempt(export: Callable[[Sequence[Record]], None], records: Sequence[Record]) -> Verdict:
    """Call `export`, and turn whatever it raises into a verdict."""
    try:
        export(records)
    except ExportError as error:
        return _refused(error, records)
    except KeyboardInterrupt:
        raise  # of `recover`, which runs an exporter in the thread that people interrupt
    except BaseException as error:  # noqa: BLE001 - an exporter's bug costs its own records, nothing else
        text = f"{type(error).__name__}: {error}"
        return Verdict(records, error=ExportError(text, reason="failed"), reason="failed", unexpected=True)
    return Verdict()


def _refused(error: ExportError, records: Sequence[Record]) -> Verdict:
    if error.remaining is None:
        if error.permanent:
            return Verdict(lost=True, reason=error.reason)
        return Verdict(records, error=error, reason=error.reason)
    if error.permanent:
        never = error.refused.get(error.reason, 0) + len(error.remaining)
        return Verdict(refused={**error.refused, error.reason: never}, reason=error.reason)
    if not error.remaining:
        return Verdict(refused=error.refused, reason=error.reason)
    return Verdict(error.remaining, error.refused, reason=error.reason, error=error)


class BackOff:
    """Waiting times that double up to a limit, each drawn at random from zero on (full jitter), so that
    workers which lost the same backend at the same time do not come back at the same time."""

    def __init__(
        self,
        first: float = 0.5,
        limit: float = 30.0,
        longest: float = 3600.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._first = first
        self._limit = limit
        self._longest = longest  # what a backend may ask for with Retry-After
        self._draw = draw
        self.failures = 0  # in a row

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0

    def failed(self, retry_after: float | None = None) -> float:
        """Seconds to wait after another failure: never less than the backend asked for."""
        ceiling = min(self._limit, self._first * float(1 << min(self.failures, 16)))
        self.failures += 1
        asked = max(0.0, min(retry_after or 0.0, self._longest))
        return asked + self._draw() * ceiling

    def __repr__(self) -> str:
        return f"<BackOff after {self.failures} failures>"
