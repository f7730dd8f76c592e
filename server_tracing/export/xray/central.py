"""Keeps one process's central rules up to date: fetches them, reports what they did, takes what is granted.

Rules every five minutes, targets every ten seconds, as the SDK does, and in the thread of the exporter's
sender (`tend`), which waits for the service where nobody waits for it. What does not come leaves what is in
force as it is: for an hour the rules fetched last, then the local ones.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Sequence

from server_tracing.config import Config
from server_tracing.daemon_address import parse
from server_tracing.sampling.central import Central
from server_tracing.sampling.terms import Report
from server_tracing.units import printable

from .control_plane import Caller, ControlPlane, ControlPlaneError, Unprocessed, in_calls
from .daemon_call import DaemonCaller
from .signed_call import SignedCaller

RULES_EVERY, RULES_JITTER = 300.0, 5.0  # seconds, the SDK's
TARGETS_EVERY, TARGETS_JITTER = 10.0, 0.1
RETRY_AFTER = 10.0  # seconds, doubled after every failure: segments wait while a call hangs
RULES_WITHIN, TARGETS_WITHIN = 300.0, 60.0  # seconds, up to which
SKEW = 60.0  # seconds of difference between two clocks that are worth a word

log = logging.getLogger("server_tracing.export")


class Consultation:
    """One process and the service. All of it is called by one thread."""

    def __init__(
        self,
        rules: Central,
        plane: ControlPlane,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._rules = rules
        self._plane = plane
        self._clock = rules.clock
        self._wall = wall
        self._draw = draw
        self._fetch_at = self._report_at = self._clock()
        self._unfetched = self._unreported = 0  # failures in a row
        self._fetched = self._modified = 0.0  # when the rules were, by the service's clock
        self._client_id, self._pid = "", 0
        self._said: dict[str, str] = {}  # what was said last, of what

    def tend(self) -> float:
        """Do what is due; in how many seconds something will be."""
        if self._clock() >= self._fetch_at:
            self._fetch()
        if self._clock() >= self._report_at:
            self._report()
        return max(0.0, min(self._fetch_at, self._report_at) - self._clock())

    def part(self) -> None:
        """Report what has come since the last time, once, to a service that answers: nobody counts on."""
        if self._unreported:
            return
        try:
            for reports in in_calls(self._rules.reports(last=True)):
                self._plane.targets(reports, self.client_id)
        except ControlPlaneError as error:
            log.debug("%s did not take the last sampling statistics: %s", self._plane.place, error)

    def origin_is(self, origin: str | None) -> None:
        """Where this runs is known: rules for other places are not ours."""
        self._rules.origin_is(origin)

    @property
    def client_id(self) -> str:
        """Names this process to the service: 24 hex digits that no child of it inherits."""
        if self._pid != os.getpid():
            self._client_id, self._pid = os.urandom(12).hex(), os.getpid()
        return self._client_id

    # ------------------------------------------------------------ rules

    def _fetch(self) -> None:
        try:
            fetched = self._plane.rules()
            if not fetched.definitions:
                raise ControlPlaneError("there are none in the reply")
        except ControlPlaneError as error:
            self._unfetched += 1
            wait = _back_off(self._unfetched, RULES_WITHIN) + RULES_JITTER * self._draw()
            self._fetch_at = self._clock() + wait
            self._say("rules", f"No sampling rules from {self._plane.place}: {error}; {self._meanwhile}.")
            return
        self._unfetched = 0
        self._fetch_at = self._clock() + RULES_EVERY + RULES_JITTER * self._draw()
        self._fetched = self._wall() if fetched.at is None else fetched.at
        self._rules.load(fetched.definitions)
        odd = sorted(one.name for one in fetched.definitions if not one.applicable)
        self._tell(len(fetched.definitions) - len(odd), odd, fetched.unreadable)
        self._compare_clocks(fetched.at)

    @property
    def _meanwhile(self) -> str:
        return "those that came last go on" if self._rules.fresh else "until then the local ones decide"

    def _tell(self, many: int, odd: Sequence[str], unreadable: int) -> None:
        odd_ones = f"; left out, for they ask what is not known here: {', '.join(odd)}" if odd else ""
        broken = f"; {unreadable} could not be read" if unreadable else ""
        sentence = f"Sampling rules from {self._plane.place}: {many}{odd_ones}{broken}."
        self._say("rules", sentence, logging.INFO)

    def _compare_clocks(self, at: float | None) -> None:
        ahead = self._wall() - at if at is not None else 0.0
        if abs(ahead) > SKEW:
            wrong = f"{abs(ahead) / 60:.0f} min {'fast' if ahead > 0 else 'slow'}"
            self._say("clock", f"This machine's clock is {wrong}: X-Ray may misplace or refuse its segments.")

    # ------------------------------------------------------------ targets

    def _report(self) -> None:
        self._report_at = self._clock() + TARGETS_EVERY + TARGETS_JITTER * self._draw()
        undelivered = self._rules.reports()
        try:
            for reports in in_calls(list(undelivered)):
                self._report_some(reports)
                del undelivered[: len(reports)]
        except ControlPlaneError as error:
            self._unreported += 1
            self._report_at = self._clock() + _back_off(self._unreported, TARGETS_WITHIN)
            self._say("targets", f"{self._plane.place} takes no sampling statistics: {error}; they are kept.")
        else:
            self._unreported = 0
            self._said.pop("targets", None)
        finally:
            self._rules.restore(undelivered)

    def _report_some(self, reports: Sequence[Report]) -> None:
        granted = self._plane.targets(reports, self.client_id)
        self._rules.grant(granted.targets)
        passing = {one.name for one in granted.unprocessed if one.passing}
        self._rules.restore([report for report in reports if report.name in passing])
        self._complain([one for one in granted.unprocessed if not one.passing])
        self._complain(granted.unprocessed_boosts)
        if granted.modified is not None and granted.modified > max(self._fetched, self._modified):
            self._modified = granted.modified
            self._fetch_at = self._clock()

    def _complain(self, unprocessed: Sequence[Unprocessed]) -> None:
        if unprocessed:
            self._say("statistics", f"X-Ray refused sampling statistics: {'; '.join(map(str, unprocessed))}.")

    def _say(self, what: str, sentence: str, level: int = logging.WARNING) -> None:
        """Once, until there is something else to be said of the same."""
        if self._said.get(what) != sentence:
            self._said[what] = sentence
            log.log(level, "%s", printable(sentence))

    def __repr__(self) -> str:
        return f"<Consultation of {self._plane.place} · {self._rules!r}>"


def _back_off(failures: int, longest: float) -> float:
    return min(RETRY_AFTER * 2.0 ** min(failures - 1, 16), longest)


def consultation(rules: Central, config: Config, service: str) -> Consultation:
    """As the settings have it."""
    return Consultation(rules, control_plane(rules, config, service))


def control_plane(rules: Central, config: Config, service: str) -> ControlPlane:
    """Through the daemon, or signed by ourselves where the API is used."""
    caller: Caller
    if config.xray.transport == "api":
        caller = SignedCaller(config.xray)
    else:
        caller = DaemonCaller(parse(config.xray.daemon_address).tcp)
    return ControlPlane(caller, service, rules.clock, time.time)
