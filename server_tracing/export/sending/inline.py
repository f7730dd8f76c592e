"""The way to an exporter that does not wait for anybody: the reader calls it itself.

What it cannot take now is tried again at a later wake; beyond MAX_HELD records the oldest batch is let go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic

from server_tracing.export.exporter import Exporter, Resumable, close_exporter, traits
from server_tracing.record import Record

from .batch import Batch
from .delivery import BackOff, Verdict, attempt
from .spool import Spool

MAX_HELD = 2000  # records waiting for an exporter that cannot take them


class Inline:
    """Batches for an exporter that is called by the reader's thread. Touched by no other."""

    def __init__(
        self, exporter: Exporter, *, clock: Callable[[], float] = monotonic, back_off: BackOff | None = None
    ) -> None:
        self.name = exporter.name
        self.traits = traits(exporter)
        self.exporter = exporter
        self.spool: Spool | None = None
        self.trouble = ""  # what went wrong last, while it does
        self._resumable = exporter if isinstance(exporter, Resumable) else None
        self._clock = clock
        self._back_off = back_off or BackOff(first=0.2, limit=5.0)
        self._waiting: deque[Batch] = deque()
        self._reason = "failed"
        self._not_before = 0.0

    def stored(self, source: str) -> int:
        """How far the exporter itself remembers to have stored `source`."""
        if self._resumable is None:
            return 0
        try:
            return self._resumable.acked(source)
        except Exception:  # noqa: BLE001 - then some may be stored twice, with the same ids
            return 0

    def offer(self, batch: Batch) -> None:
        """Deliver `batch` now, or keep it for a later try."""
        self._waiting.append(batch)
        self.pump()

    def pump(self) -> None:
        """Deliver what waits, oldest first, unless it is too early to try again."""
        while self._waiting and self._clock() >= self._not_before:
            if not self._try(self._waiting[0]):
                break
            self._waiting.popleft()
        while sum(len(batch.records) for batch in self._waiting) > MAX_HELD:
            self._waiting.popleft().drop_rest(self._reason)

    def _try(self, batch: Batch) -> bool:
        verdict = attempt(partial(self._export, batch), batch.records)
        batch.book(verdict)
        self._note(verdict)
        return batch.done

    def _export(self, batch: Batch, records: Sequence[Record]) -> None:
        if self._resumable is not None:
            self._resumable.export_up_to(records, batch.source, batch.upto)
        else:
            self.exporter.export(records)

    def _note(self, verdict: Verdict) -> None:
        if verdict.error is None:
            self._back_off.succeeded()
            self.trouble = ""
        else:
            self._reason = verdict.error.reason
            self.trouble = verdict.error.told
            self._not_before = self._clock() + self._back_off.failed(verdict.error.retry_after)

    def relieve(self, *, pressed: bool, last: bool = False) -> None:
        """Try what waits; when the journal needs its room back, let go of what still cannot be taken. At the
        `last` it stays in the journal."""
        self.pump()
        while pressed and not last and self._waiting:
            self._waiting.popleft().drop_rest(self._reason)

    def written(self) -> list[str]:
        """There is no spool behind it."""
        return []

    def halt(self) -> None:
        """One last try for everything, whatever the back-off says."""
        self._not_before = 0.0
        self.pump()

    def wait(self, seconds: float) -> bool:
        """It is done as soon as it was asked to."""
        return not self._waiting

    def close(self) -> None:
        """Let go of what the exporter holds open."""
        close_exporter(self.exporter)

    def __repr__(self) -> str:
        state = f"waiting: {self.trouble}" if self.trouble else "healthy"
        return f"<Inline {self.name} · {len(self._waiting)} batches waiting · {state}>"
