"""Measuring side by side: CPU time of the calling thread, in short blocks, in an order shuffled every round.

A difference is taken within a round, from the plain variant of the same group that ran beside it, so that a
machine that is slow for a while is slow for both. What is told is the median of the rounds, and its spread.
"""

from __future__ import annotations

import gc
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from threading import Barrier, Thread
from typing import NamedTuple

BLOCK_NS = 30_000_000  # long against starting its thread, short against the machine's moods
MOST_REQUESTS = 4000  # of which a journal of 8 MiB has room for three times as many

Block = Callable[[int], None]  # serves so many requests


class Variant(NamedTuple):
    """One way to serve; `against` names the variant it is compared with."""

    name: str
    block: Block
    against: str | None = None
    threads: int = 1
    between: Callable[[], None] = lambda: None  # before each block, not measured


class Added(NamedTuple):
    """Microseconds per request more than the plain variant: the median round, and where most of them lie."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        spread = f"({self.low:.2f} to {self.high:.2f})"
        return f"{self.median:7.2f} us  {spread:20}"


def rounds(variants: list[Variant], seconds: float) -> dict[str, list[float]]:
    """Nanoseconds per request of each variant, once per round, for about so many seconds."""
    taken: dict[str, list[float]] = {variant.name: [] for variant in variants}
    blocks = {variant.name: block_size(variant) for variant in variants}
    deadline = time.monotonic() + seconds
    order = random.Random(7)
    while time.monotonic() < deadline:
        for variant in order.sample(variants, len(variants)):
            taken[variant.name].append(timed(variant, blocks[variant.name]))
    return taken


def block_size(variant: Variant) -> int:
    """So many requests that a block takes about its time; asking also warms the variant up."""
    timed(variant, 400)
    return int(min(MOST_REQUESTS, BLOCK_NS / timed(variant, 400)))


def timed(variant: Variant, requests: int) -> float:
    """Nanoseconds of CPU per request of one block, in each of the variant's threads."""
    variant.between()
    gc.collect()
    spent: list[int] = []
    start = Barrier(variant.threads)
    share = requests // variant.threads

    def block() -> None:
        start.wait()
        before = time.thread_time_ns()
        variant.block(share)
        spent.append(time.thread_time_ns() - before)

    threads = [Thread(target=block) for _ in range(variant.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(spent) / (share * variant.threads)


def added(taken: dict[str, list[float]], variant: Variant) -> Added:
    """What a variant costs more than the one it is compared with."""
    pairs = zip(taken[variant.name], taken[variant.against or variant.name], strict=True)
    return spread([with_it - without for with_it, without in pairs])


def spread(nanoseconds: list[float]) -> Added:
    """The median in microseconds, and where most of them lie."""
    costs = sorted(cost / 1000 for cost in nanoseconds)
    tenths = statistics.quantiles(costs, n=10)
    return Added(statistics.median(costs), tenths[0], tenths[-1])


def within(budget: float, taken: dict[str, list[float]], name: str) -> bool:
    """Print what every variant took, and whether the one of this name keeps its budget."""
    for other, costs in taken.items():
        print(f"{other:40}{spread(costs)}")
    kept = spread(taken[name]).median <= budget
    print(f"budget {budget:.0f} us: {'kept' if kept else 'MISSED'}")
    return kept


def where(packages: Iterable[str]) -> str:
    """The machine and the versions, without which a figure says nothing."""
    model = next((line.partition(":")[2].strip() for line in cpu_lines() if "model name" in line), "?")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{os.cpu_count()} x {model}, load {os.getloadavg()[0]:.1f}; {python}; {versions}"


def cpu_lines() -> list[str]:
    """What the kernel says of the processors."""
    try:
        with open("/proc/cpuinfo") as lines:
            return lines.readlines()
    except OSError:
        return []
