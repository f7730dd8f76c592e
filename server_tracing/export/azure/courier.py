"""Takes items to the service and comes back with what became of each.

Batches by count and bytes, halves of what is too large, another address, a new token: whatever an answer
asks for and can be done at once is done here. What has to wait is the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from server_tracing import __version__

from . import payload
from .answers import REDIRECT, WRONG_PLACE, NotAReceiptError, Refusal, Ruling, ruling, wait
from .clock import Skew
from .credentials import NoTokenError, Tokens
from .route import MOST_HOPS, RedirectError, Route
from .wire import Reply, UnreachableError, Wire

HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Content-Encoding": "gzip",
    "Accept": "application/json",
    "User-Agent": f"server-tracing/{__version__}",
}
SMALLEST_BODY = 64 << 10  # bytes; what the service takes is never less than an item
MOST_GARBLED = 3  # answers in a row of which nobody can tell what was accepted


class Courier:
    """Delivers items over one wire. One thread's."""

    def __init__(
        self,
        wire: Wire,
        route: Route,
        tokens: Tokens | None,
        skew: Skew,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire
        self._route = route
        self._tokens = tokens
        self._clock = clock
        self._most_bytes = payload.MAX_BODY
        self._garbled = 0
        self.skew = skew
        self.answer = ""  # the last one, in words
        self.accepted = 0  # items

    def deliver(self, items: Sequence[bytes]) -> Ruling:
        """Send `items` until some have to wait; those behind them wait, too."""
        total = Ruling()
        for first, end in payload.chunks(items, self._most_bytes):
            ruled = self._send(items[first:end])
            total = total.with_more(ruled, first)
            if ruled.trouble:
                return total.with_more(Ruling(frozenset(range(len(items) - end))), end)
        return total

    def _send(self, items: Sequence[bytes]) -> Ruling:
        ruled = self._ask(items)
        if ruled.renew and self._tokens is not None:
            self._tokens.forget()
            if len(ruled.later) == len(items):  # none was accepted: they can all be sent again at once
                ruled = self._ask(items)
        if ruled.split:
            return self._halves(items)
        ruled = self._with_time_corrected(ruled)
        self.accepted += len(items) - len(ruled.later) - len(ruled.refused)
        return ruled

    def _ask(self, items: Sequence[bytes]) -> Ruling:
        began = self._clock()
        try:
            reply = self._post(payload.body(items))
            ruled = ruling(reply, len(items))
            self._garbled = 0
        except (UnreachableError, NoTokenError) as error:
            return wait(len(items), str(error))
        except RedirectError as error:
            return wait(len(items), str(error), "check the connection string's IngestionEndpoint")
        except NotAReceiptError as error:
            return self._garbled_answer(len(items), str(error))
        self.answer = (
            f"{self._route.url} answered {reply.status} in {(self._clock() - began) * 1000:.0f} ms: "
            f"{len(items) - len(ruled.later) - len(ruled.refused)} of {len(items)} items accepted"
        )
        return ruled

    def _post(self, body: bytes) -> Reply:
        headers = HEADERS if self._tokens is None else HEADERS | {"Authorization": self._tokens.header()}
        for _ in range(MOST_HOPS):
            try:
                reply = self._wire.post(self._route.url, body, headers)
            except UnreachableError:
                self._route.reset()
                raise
            self.skew.see(reply)
            if reply.status not in REDIRECT:
                if reply.status in WRONG_PLACE:
                    self._route.reset()
                return reply
            self._route.follow(reply.header("location"))
        self._route.reset()
        raise RedirectError(f"{self._route.url} redirects in a circle")

    def _halves(self, items: Sequence[bytes]) -> Ruling:
        """The service says it was too much: less at once from now on."""
        size = sum(map(len, items))
        if len(items) == 1:
            return Ruling(refused={0: Refusal("too_large", f"413: an item of {size} bytes is too large")})
        self._most_bytes = max(SMALLEST_BODY, min(self._most_bytes, size // 2))
        middle = len(items) // 2
        first = self._send(items[:middle])
        if first.trouble:
            return first.with_more(Ruling(frozenset(range(len(items) - middle))), middle)
        return first.with_more(self._send(items[middle:]), middle)

    def _garbled_answer(self, count: int, sentence: str) -> Ruling:
        """To ask again may deliver twice, not to ask may lose: again, but not for ever."""
        self._garbled += 1
        if self._garbled < MOST_GARBLED:
            return wait(count, sentence)
        self._garbled = 0
        return Ruling(refused=dict.fromkeys(range(count), Refusal("garbled_answer", sentence)))

    def _with_time_corrected(self, ruled: Ruling) -> Ruling:
        """Items that were refused because our clock is wrong are not refused."""
        if not any(self.skew.correct(refusal.said) for refusal in ruled.refused.values()):
            return ruled
        timely = {item for item, refusal in ruled.refused.items() if "time" in refusal.said.lower()}
        return ruled._replace(
            later=ruled.later | timely,
            refused={item: refusal for item, refusal in ruled.refused.items() if item not in timely},
            trouble=ruled.trouble or self.skew.sentence,
            remedy=ruled.remedy or "set this machine's clock",
        )

    def close(self) -> None:
        """Hang up."""
        self._wire.close()

    def __repr__(self) -> str:
        return f"<Courier {self._route!r} · {self.accepted} items accepted>"
