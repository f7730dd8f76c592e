"""Documents to X-Ray's API itself, by botocore: the way that says what became of each of them.

Each call takes MOST documents. What the service names as unprocessed is tried again where its code says that
it may succeed later, and counted by its code where not.
https://docs.aws.amazon.com/xray/latest/api/API_PutTraceSegments.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from server_tracing.config import XRay
from server_tracing.export.exporter import ExportError
from server_tracing.record import Record, Running

from .client import Trouble, client, explained
from .transport import Sheet

MOST = 50  # documents in one call, as many as the daemon puts there
LATER = ("throttl", "internal", "unavailable", "timeout", "toomany")  # in a code: it may succeed another time


class Addressed(NamedTuple):
    """A document, and the place of its record among those to be delivered."""

    place: int
    sheet: Sheet


class Api:
    """The way to one region's X-Ray. All of it is called by one thread."""

    def __init__(self, settings: XRay, make_client: Callable[[XRay], Any] = client) -> None:
        self._settings = settings
        self._make_client = make_client
        self._client: Any = None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        if self._settings.endpoint:
            return f"X-Ray at {self._settings.endpoint}"
        region = self._settings.region or (self._client.meta.region_name if self._client else "")
        return f"X-Ray in {region}" if region else "X-Ray"

    def deliver(self, records: Sequence[Record], documents: Callable[[Record], Sequence[Sheet]]) -> None:
        """Send the documents of all records, in as many calls as it takes."""
        outcome = Outcome(records)
        addressed = (
            Addressed(place, sheet) for place, record in enumerate(records) for sheet in documents(record)
        )
        while batch := list(islice(addressed, MOST)):
            try:
                self._send(batch, outcome)
            except ExportError as error:
                raise outcome.broken_off(error, batch[0].place) from None
        outcome.settle(self.place)

    def _send(self, batch: Sequence[Addressed], outcome: Outcome) -> None:
        """One call; of one that is refused as a whole, the halves, until it is known who is to blame."""
        try:
            unprocessed = self._call([one.sheet for one in batch])
        except ExportError as error:
            if not error.permanent:
                raise
            if len(batch) == 1:
                outcome.refuse(batch[0].place, error.reason)
                return
            half = len(batch) // 2
            self._send(batch[:half], outcome)
            self._send(batch[half:], outcome)
        else:
            outcome.take(batch, unprocessed)

    def _call(self, sheets: Sequence[Sheet]) -> Sequence[Mapping[str, Any]]:
        try:
            if self._client is None:
                self._client = self._make_client(self._settings)
            answer = self._client.put_trace_segments(
                TraceSegmentDocuments=[str(one.data, "utf-8") for one in sheets]
            )
        except Exception as error:  # noqa: BLE001 - botocore's, urllib3's, a credential helper's
            raise _raised(explained(error, self.place)) from None
        unprocessed: Sequence[Mapping[str, Any]] = answer.get("UnprocessedTraceSegments") or ()
        return unprocessed

    def probe(self, sheet: Sheet) -> str:
        """Send one document, and say what the service said of it."""
        for one in self._call([sheet]):
            raise ExportError(f"{self.place} did not process a test segment: {_told(one)}", permanent=True)
        return f"{self.place} took a test segment"

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __repr__(self) -> str:
        return f"<Api of {self.place}>"


class Outcome:
    """What has become of records so far, by their places."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._later: dict[int, str] = {}
        self._refused: dict[int, str] = {}
        self._said = ""

    def take(self, batch: Sequence[Addressed], unprocessed: Sequence[Mapping[str, Any]]) -> None:
        """The service's answer to one call."""
        if not unprocessed:
            return
        places = {one.sheet.id: one.place for one in batch}
        for one in unprocessed:
            self._said = _told(one)
            code = str(one.get("ErrorCode") or "unprocessed")
            place = places.get(str(one.get("Id")), -1 - len(self._refused))  # below 0: it names none of ours
            if place >= 0 and any(word in code.lower() for word in LATER):
                self._later[place] = code
            else:
                self.refuse(place, code)

    def refuse(self, place: int, code: str) -> None:
        """A record that will never be taken, because one of its documents is not."""
        self._refused[place] = re.sub(r"\W+", "_", code)[:40]

    def broken_off(self, error: ExportError, place: int) -> ExportError:
        """What is left when a call fails: the records from this place on, and those to be tried again."""
        left = [*self._again(place), *self._records[place:]]
        return ExportError(
            str(error),
            retry_after=error.retry_after,
            reason=error.reason,
            remaining=left,
            refused=self._counted(place),
            remedy=error.remedy,
        )

    def settle(self, place: str) -> None:
        """Raise what is to be tried again and what never will be."""
        end = len(self._records)
        again, refused = self._again(end), self._counted(end)
        if again or refused:
            message = f"{place} did not process {len(again) + sum(refused.values())} segments: {self._said}"
            raise ExportError(message, remaining=again, refused=refused)

    def _again(self, before: int) -> list[Record]:
        return [self._records[one] for one in self._later if one < before and one not in self._refused]

    def _counted(self, before: int) -> dict[str, int]:
        """What is in progress is in no account."""
        return Counter(
            code
            for one, code in self._refused.items()
            if one < 0 or (one < before and type(self._records[one]) is not Running)
        )


def _told(unprocessed: Mapping[str, Any]) -> str:
    said = " ".join(str(unprocessed.get(name) or "") for name in ("ErrorCode", "Message"))
    return said.strip()[:200] or "no reason given"


def _raised(trouble: Trouble) -> ExportError:
    return ExportError(
        trouble.sentence,
        retry_after=trouble.retry_after,
        permanent=trouble.permanent,
        reason=trouble.reason,
        remedy=trouble.remedy,
    )
