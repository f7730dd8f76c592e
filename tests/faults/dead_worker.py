"""A dead worker's journal to do harm to, and what its heir makes of it."""

from __future__ import annotations

import mmap
from pathlib import Path

from export_kit import Backend, Clock, Worker, origin, settings

from server_tracing.capture.faults import fault_from
from server_tracing.export.exporter import ExportError
from server_tracing.export.heirs.deaths import UNKNOWN, Deaths
from server_tracing.export.memory import MemoryExporter
from server_tracing.export.pace import Pace
from server_tracing.export.sending.inline import Inline
from server_tracing.export.shape import Shaper
from server_tracing.export.source import Source
from server_tracing.journal import Journal, initialise, open_map, total_size
from server_tracing.journal.ledger import Checkpoint
from server_tracing.record import Kind, Outcome, Request
from server_tracing.sampling import Sampler

SIZE = 65536
ANSWERED, OPEN, LOST = 12, 3, 2


def image(*, read: bool = True) -> bytes:
    """The file of a worker that was killed with requests answered, failed, open and lost, of which its reader
    had read everything (or nothing) and delivered nothing."""
    memory = mmap.mmap(-1, total_size(SIZE))
    journal = initialise(memory, origin(), SIZE)
    down = Backend(*[ExportError("down")] * 99, name="memory", blocking=False, sampled_only=False)
    worker = Worker(down, journal=journal, clock=Clock())
    for number in range(ANSWERED + OPEN):
        slot = worker.begin(
            f"/{number}?q={number}", [("HOST", f"h{number}"), ("USER-AGENT", f"agent {number}")]
        )
        worker.clock.advance(0.01)
        if number % 4 == 1:
            worker.recorder.end(slot, Outcome.ERROR, 500, fault=fault_from(KeyError(f"key {number}")))
        elif number < ANSWERED:
            worker.recorder.end(slot, Outcome.OK, 200, response_bytes=number)
    for _ in range(LOST):
        journal.ring.lose()
    journal.append(Kind.VITALS, b"\x97" + b"\x01" * 7)
    journal.beat(worker.clock.ns())
    if read:
        worker.wake(2.0)
    return memory[:]


def heir_of(content: bytes) -> tuple[list[Request], Checkpoint, int]:
    """What whoever adopts this journal delivers, what it counts, and how many gaps it found."""
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return deliver(open_map(memory, "journal", read_only=False))


def deliver(journal: Journal) -> tuple[list[Request], Checkpoint, int]:
    """Read an adopted journal to its end."""
    memory = MemoryExporter()
    config, clock = settings(), Clock()
    source = Source(
        journal,
        [Inline(memory, clock=clock)],
        Shaper(config, journal.origin),
        Sampler(config.sampling, clock),
        Pace(sleep=lambda seconds: None),
    )
    while source.read(clock()):
        pass
    source.report_killed(Deaths().of(journal, "", 99.0) or UNKNOWN, clock())
    source.settle()
    return memory.requests, source.close_accounts(), source.joiner.gaps


def write(content: bytes, path: Path) -> None:
    """As a file of its user, private."""
    path.write_bytes(content)
    path.chmod(0o600)
