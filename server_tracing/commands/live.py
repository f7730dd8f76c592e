"""What is true this moment, read from the journals of all workers without disturbing them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from server_tracing.config import Config, destinations
from server_tracing.export.join import Joiner
from server_tracing.export.shape import Shaper
from server_tracing.export.stuck.dump import frames_for, parse
from server_tracing.export.trail import Trail
from server_tracing.identity import boot_id
from server_tracing.journal import Journal
from server_tracing.journal.journals import Seen
from server_tracing.record import End, Origin, Outcome, Request, Stack
from server_tracing.store import View
from server_tracing.viewer.health import Worker

from .common import journals_of

ATTEMPTS = 3  # to read a journal that its worker releases from under us
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def running(config: Config) -> list[Request]:
    """The requests that are being served, the newest first."""
    journals = journals_of(config)
    found = [
        request
        for seen in journals.look()
        if seen.alive
        for request in _open(seen.journal, journals.words(seen.journal), config)
    ]
    return sorted(found, key=lambda request: request.start, reverse=True)


def workers(config: Config, view: View | None) -> list[Worker]:
    """All journals there are, with their workers' latest vitals."""
    vitals = view.vitals() if view else {}
    found = [_worker(seen, config) for seen in journals_of(config).look()]
    for worker in found:
        worker.vitals = next(reversed(vitals.get(worker.origin.id, [])), None)
    return sorted(found, key=lambda worker: (not worker.alive, worker.booted))


def _worker(seen: Seen, config: Config) -> Worker:
    origin = seen.journal.origin
    same_place = origin.destinations == destinations(config)
    return Worker(
        origin=origin,
        checkpoint=seen.journal.checkpoint(),
        alive=seen.alive,
        # Without a setting, the service is named after an application that only its server knows.
        ours=same_place and config.service in ("", origin.service),
        lost=seen.journal.lost,
        booted=_EPOCH + timedelta(microseconds=origin.wall // 1000),
    )


def _open(journal: Journal, words: str, config: Config) -> Iterator[Request]:
    """Its open requests; of a worker whose interpreter native code holds, `words` tell where they are."""
    shaper, dump = Shaper(config, journal.origin), parse(words)
    shaper.set_clock(journal.checkpoint().stepped)
    for trail in _trails(journal):
        if trail.stack is None and (frames := frames_for(dump, trail.thread)):
            trail.stack = Stack(trail.begin.number, 0, frames)
        trail.end = End(trail.begin.number, _stamp(journal.origin), Outcome.RUNNING, trail.status)
        request = shaper.request(trail)
        if request is not None:
            yield request


def _trails(journal: Journal) -> list[Trail]:
    trails: list[Trail] = []
    for _ in range(ATTEMPTS):
        tail, joiner = journal.tail, Joiner(adopted=True)
        for frame in journal.frames():
            joiner.feed(frame.position, frame.kind, frame.payload)
        trails = list(joiner.open.values())
        journal.refresh()
        if journal.tail == tail:
            break
    return trails


def _stamp(origin: Origin) -> int:
    """Now, on the monotonic clock of a worker; after a reboot or in another container only the wall tells."""
    if origin.boot and origin.boot == boot_id():
        return time.monotonic_ns()
    return time.time_ns() - origin.wall + origin.monotonic
