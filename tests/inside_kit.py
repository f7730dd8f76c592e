"""A worker in miniature for tests of the application's own view: real journal, recorder and reader's side."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from server_tracing.capture.recorder import Recorder, Slot
from server_tracing.config import Config
from server_tracing.export.join import Joiner, Trail
from server_tracing.export.shape import Shaper
from server_tracing.inside import here
from server_tracing.inside.host import COUNTS, Counts
from server_tracing.journal import initialise, total_size
from server_tracing.record import Origin, Request
from server_tracing.sampling import sampler_for
from server_tracing.worker import host_for

SIZE = 1 << 20
ORIGIN = Origin(
    id="0123456789abcdef", seed=bytes(range(16)), pid=0, service="shop", destinations="", state_dir="/",
    wall=1_800_000_000_000_000_000, monotonic=0,
)  # fmt: skip


class Lab:
    """Requests begin and end as a server would have it; `records` are what the exporter makes of them."""

    def __init__(self, config: Config | None = None, size: int = SIZE, attach: bool = True) -> None:
        self.config = config or Config()
        origin = msgspec.structs.replace(ORIGIN, pid=os.getpid())
        self.journal = initialise(mmap.mmap(-1, total_size(size)), origin, size)
        self.recorder = Recorder(self.journal)
        self.sampler = sampler_for(self.config)
        self.host = host_for(self.recorder, self.config, self.sampler, ())
        if attach:
            here.attach(self.host)

    def begin(
        self, *headers: tuple[str, str], client: str = "192.0.2.7", target: str = "/cart"
    ) -> Slot | None:
        """A request comes in, in the context of the caller."""
        return self.recorder.begin_text("GET", target, "1.1", "http", client, 5, [("HOST", "shop"), *headers])

    def end(self, slot: Slot | None) -> None:
        """It is answered."""
        self.recorder.end(slot, 0, 200)

    @contextmanager
    def request(self, *headers: tuple[str, str], **named: Any) -> Iterator[Slot]:
        """A request, in hand."""
        slot = self.begin(*headers, **named)
        assert slot is not None
        try:
            yield slot
        finally:
            self.end(slot)

    def joined(self) -> tuple[list[Trail], list[Trail]]:
        """What stands in the journal: ended requests, and those in flight."""
        joiner = Joiner()
        fed = (joiner.feed(*frame) for frame in self.journal.frames())
        ended = [trail for trail in fed if isinstance(trail, Trail)]
        return ended, list(joiner.open.values())

    def records(self) -> list[Request]:
        """The ended requests as they are kept, each decided on."""
        shaper, made = Shaper(self.config, self.journal.origin), []
        for trail in self.joined()[0]:
            request = shaper.request(trail)
            assert request is not None
            made.append(self.sampler.decide(request, int(request.trace_id, 16), trail.told))
        return made

    @property
    def record(self) -> Request:
        """The only one."""
        (only,) = self.records()
        return only


@contextmanager
def counted() -> Iterator[Counts]:
    """What is let go meanwhile, counted from nought."""
    for name in COUNTS.__struct_fields__:
        setattr(COUNTS, name, 0)
    yield COUNTS
