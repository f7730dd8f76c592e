"""What an answer means for the items that were sent, status by status.

| status | the items | then |
|---|---|---|
| 200, and other 2xx | are delivered | |
| 206 | each as its error says: transient ones later, the rest refused | |
| 307, 308 | go to the address named, if both are https; it is remembered | |
| 400 | are refused, each for its reason; if it is a page of HTML, they wait: somebody else answered | |
| 401, 403 | wait; a token is renewed | |
| 402, 439 | wait until the quota is renewed, an hour if the service does not say | |
| 404 | wait: the endpoint is of another region | |
| 408, 429, 5xx | wait for as long as Retry-After says, else for the back-off | |
| 413 | are sent in halves; one that is alone is refused | |
| anything else | wait: a proxy or a login page stands in between | |

OpenCensus drops what waits here after 402, 404, 439 and timeouts, and does not read Retry-After.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from server_tracing.units import printable

from .wire import Reply

TRANSIENT = frozenset((401, 402, 403, 408, 429, 439, 500, 502, 503, 504))  # also of a single item
QUOTA = frozenset((402, 439))
REDIRECT = frozenset((307, 308))
WRONG_PLACE = frozenset((401, 403, 404, 421))  # after a redirect: the address it named is no good
QUOTA_PAUSE = 3600.0  # seconds; the daily one is renewed at a fixed hour
WRONG_PLACE_PAUSE = 300.0  # somebody has to change a setting first
LONGEST_TOLD = 200  # characters of what the service says


class ItemError(msgspec.Struct, gc=False):
    """What is wrong with one item."""

    index: int = -1
    statusCode: int = 0  # noqa: N815
    message: str | None = ""


class Receipt(msgspec.Struct, gc=False):
    """The body of an answer."""

    itemsReceived: int = 0  # noqa: N815
    itemsAccepted: int = 0  # noqa: N815
    errors: list[ItemError] | None = None


class Refusal(NamedTuple):
    """Why an item will never be taken: `reason` for the accounts, and what the service said."""

    reason: str
    said: str


class Ruling(NamedTuple):
    """What becomes of items: those in neither `later` nor `refused` are delivered."""

    later: frozenset[int] = frozenset()
    refused: Mapping[int, Refusal] = MappingProxyType({})
    trouble: str = ""  # why there is a `later`
    remedy: str = ""
    retry_after: float | None = None
    split: bool = False
    renew: bool = False  # the token may be out of date

    def with_more(self, other: Ruling, first: int) -> Ruling:
        """This, and what became of further items, the first of which has this number."""
        return self._replace(
            later=self.later | {first + item for item in other.later},
            refused={**self.refused, **{first + item: why for item, why in other.refused.items()}},
            trouble=self.trouble or other.trouble,
            remedy=self.remedy or other.remedy,
            retry_after=other.retry_after if self.retry_after is None else self.retry_after,
        )


_receipt = msgspec.json.Decoder(Receipt).decode


class NotAReceiptError(Exception):
    """Only a part was accepted, and nobody can tell which."""


def wait(count: int, trouble: str, remedy: str = "", retry_after: float | None = None) -> Ruling:
    """All items have to wait."""
    return Ruling(frozenset(range(count)), trouble=trouble, remedy=remedy, retry_after=retry_after)


def ruling(reply: Reply, count: int) -> Ruling:
    """What `reply` says of the `count` items it answers."""
    status = reply.status
    if status == 206 or (status in (200, 400) and b'"errors"' in reply.body):
        return _item_by_item(reply, count)
    if 200 <= status < 300:
        return _accepted(reply, count)
    if status == 400 and reply.body.lstrip()[:1] != b"<":
        return Ruling(refused=dict.fromkeys(range(count), Refusal("refused_400", _said(reply))))
    if status == 413:
        return Ruling(split=True)
    trouble, remedy, pause = _waiting(reply)
    asked = retry_after(reply)
    ruled = wait(count, trouble, remedy, pause if asked is None else asked)
    return ruled._replace(renew=status in (401, 403))


def _accepted(reply: Reply, count: int) -> Ruling:
    """All of them; unless it was not the service who answered, but a login page for instance."""
    if reply.body.lstrip()[:1] not in (b"", b"{"):
        return wait(
            count,
            f"the endpoint answers {reply.status}, but not as the ingestion service does",
            "look for a proxy or a login page between here and there",
        )
    return Ruling()


def _item_by_item(reply: Reply, count: int) -> Ruling:
    receipt = _decoded(reply)
    errors = {error.index: error for error in receipt.errors or () if 0 <= error.index < count}
    if reply.status == 206 and len(errors) < count - receipt.itemsAccepted:
        raise NotAReceiptError("a part of the items was accepted, and the answer does not say which")
    later = frozenset(index for index, error in errors.items() if error.statusCode in TRANSIENT)
    refused = {index: _refusal(error) for index, error in errors.items() if index not in later}
    if reply.status == 400:  # nothing was accepted
        others = [index for index in range(count) if index not in later and index not in refused]
        refused |= dict.fromkeys(others, Refusal("refused_400", "400"))
    if not later:
        return Ruling(refused=refused)
    codes = {errors[index].statusCode for index in later}
    first = errors[min(later)]
    asked = retry_after(reply)
    return Ruling(
        later,
        refused,
        trouble=f"{len(later)} of {count} items have to wait: {_text(first)}",
        retry_after=QUOTA_PAUSE if asked is None and codes & QUOTA else asked,
        renew=bool(codes & {401, 403}),
    )


def _refusal(error: ItemError) -> Refusal:
    return Refusal(f"refused_{error.statusCode}", _text(error))


def _text(error: ItemError) -> str:
    return _short(f"{error.statusCode} {error.message or ''}")


def _decoded(reply: Reply) -> Receipt:
    try:
        return _receipt(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        if reply.status == 206:
            raise NotAReceiptError("a part of the items was accepted, but the answer is garbled") from None
        return Receipt()


def _waiting(reply: Reply) -> tuple[str, str, float | None]:
    """Why the items wait, what a person can do, and for how long to leave the service alone."""
    status, said = reply.status, _said(reply)
    if status == 401:
        return f"the service does not accept our credentials ({said})", "see azure.credential", None
    if status == 403:
        remedy = "if the resource takes Microsoft Entra tokens only, set azure.credential"
        return f"the service refuses us ({said})", remedy, None
    if status in QUOTA:
        return f"the quota of the resource is used up ({said})", "raise its daily cap, or sample", QUOTA_PAUSE
    if status == 404:
        trouble = f"the endpoint does not take telemetry of this resource ({said})"
        return trouble, "copy the connection string from the portal: it names the region", WRONG_PLACE_PAUSE
    if status == 407:
        return "the proxy wants credentials", "put them into azure.proxies: http://name:password@host", None
    if status in (408, 429) or status >= 500:
        return f"the service cannot take more now ({said})", "", None
    return f"the endpoint answers as the ingestion service never does ({said})", "look for a proxy", None


def retry_after(reply: Reply) -> float | None:
    """Seconds to wait, said as such or as a date; a date counts from when the service says it is now."""
    said = reply.header("retry-after").strip()
    if not said:
        return None
    if said.isascii() and said.replace(".", "", 1).isdecimal():
        return float(said)
    until, now = http_time(said), http_time(reply.header("date"))
    return None if until is None else max(0.0, until - (time.time() if now is None else now))


def http_time(text: str) -> float | None:
    """Seconds since the epoch."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _said(reply: Reply) -> str:
    """The status, and what the service said with it."""
    try:
        errors = _receipt(reply.body).errors
        return _short(f"{reply.status} {errors[0].message or ''}" if errors else str(reply.status))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return str(reply.status)


def _short(text: str) -> str:
    return printable(text.strip())[:LONGEST_TOLD]
