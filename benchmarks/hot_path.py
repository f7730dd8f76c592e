"""What recording adds to the thread that serves a request, against the budgets; see README.md beside this.

    python benchmarks/hot_path.py [--quick]

Exit code 0 if every budget is kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from typing import NamedTuple

import subjects
from measure import Added, Variant, added, rounds, where

from server_tracing.capture.recorder import Recorder
from server_tracing.config import Config
from server_tracing.inside.announcing import announcer
from server_tracing.journal import Journal
from server_tracing.journal.journals import Journals
from server_tracing.sampling import sampler_for
from server_tracing.worker import host_for

PEER_SHARE = 1 / 15  # of what OpenTelemetry's middleware adds in the same run
PACKAGES = ("msgspec", "gunicorn", "opentelemetry-sdk", "opentelemetry-instrumentation-wsgi")


class Budget(NamedTuple):
    """A line of the table: what is measured, what it may cost, and which peer it is held against."""

    title: str
    variant: str
    microseconds: float
    peer: str


BUDGETS = [
    Budget("gunicorn's hooks", "hooks", 4.0, "otel wsgi"),
    Budget("gunicorn's hooks, four threads", "hooks x4", 8.0, "otel wsgi x4"),
    Budget("ASGI wrapper", "asgi", 6.0, "otel asgi"),
]
UNBUDGETED = {
    "WSGI wrapper": "wsgi",
    "gunicorn's hooks around a whole response": "response",
    "the same, which then says its trace": "announced response",
    "ASGI wrapper, which says its trace": "announced asgi",
}


def main() -> int:
    """Measure, print the table, judge."""
    parser = argparse.ArgumentParser(description="what recording adds to the request's thread")
    parser.add_argument("--quick", action="store_true", help="10 seconds instead of 60, and a wider spread")
    quick = parser.parse_args().quick
    print(where(PACKAGES))
    with tempfile.TemporaryDirectory() as folder:
        variants = contestants(journal_in(folder))
        taken = rounds(variants, seconds=8 if quick else 50)
    results = {variant.name: added(taken, variant) for variant in variants if variant.against}
    count = len(taken["hooks"])
    print(f"CPU added to a request's thread: median of {count} rounds (10th to 90th percentile)")
    kept = [judged(budget, results) for budget in BUDGETS]
    for title, name in UNBUDGETED.items():
        print(f"{title:42}{results[name]}")
    return 0 if all(kept) else 1


def contestants(journal: Journal) -> list[Variant]:
    """Every variant, each beside the plain one it is compared with."""
    recorder = Recorder(journal)

    def drain() -> None:
        journal.ring.release(journal.head)

    plain, recording = subjects.gunicorn_hooks(None), subjects.gunicorn_hooks(recorder)
    announcing = subjects.gunicorn_hooks(announcer_in(journal))
    wsgi, asgi = subjects.ours(recorder)
    _, announced_asgi = subjects.ours(announcer_in(journal))
    otel_wsgi, otel_asgi, _ = subjects.opentelemetry()

    def ready() -> None:
        recording.ready()
        drain()

    def ready_to_announce() -> None:
        announcing.ready()
        drain()

    contended = [
        Variant("plain hooks", plain.alone),
        Variant("hooks", recording.alone, "plain hooks", between=drain),
        Variant("plain wsgi", subjects.wsgi(subjects.wsgi_app)),
        Variant("otel wsgi", otel_wsgi, "plain wsgi"),
    ]
    return [
        *contended,
        *(by_four(variant) for variant in contended),
        Variant("wsgi", wsgi, "plain wsgi", between=drain),
        Variant("plain response", plain.around_a_response, between=plain.ready),
        Variant("response", recording.around_a_response, "plain response", between=ready),
        Variant(
            "announced response", announcing.around_a_response, "plain response", between=ready_to_announce
        ),
        Variant("plain asgi", subjects.asgi(subjects.asgi_app)),
        Variant("asgi", asgi, "plain asgi", between=drain),
        Variant("announced asgi", announced_asgi, "plain asgi", between=drain),
        Variant("otel asgi", otel_asgi, "plain asgi"),
    ]


def announcer_in(journal: Journal) -> Recorder:
    """A recorder whose responses say which trace they belong to (`response_header`)."""
    recorder, config = Recorder(journal), Config()
    recorder.announce = announcer(host_for(recorder, config, sampler_for(config), ()))
    return recorder


def by_four(variant: Variant) -> Variant:
    """The same in four threads at once."""
    against = variant.against and f"{variant.against} x4"
    return variant._replace(name=f"{variant.name} x4", against=against, threads=4)


def journal_in(folder: str) -> Journal:
    """A journal as a worker has it: mapped memory, 8 MiB."""
    journals = Journals(folder)
    return journals.create(journals.origin("benchmark"), 8 << 20)


def judged(budget: Budget, results: dict[str, Added]) -> bool:
    """Print one line; whether both of its budgets are kept."""
    cost, peer = results[budget.variant], results[budget.peer]
    within, cheap = cost.median <= budget.microseconds, cost.median <= peer.median * PEER_SHARE
    print(f"{budget.title:42}{cost}  {verdict(within)}: budget {budget.microseconds:.0f} us")
    share = f"1/{peer.median / cost.median:.1f}, budget 1/{1 / PEER_SHARE:.0f}"
    print(f"{'    OpenTelemetry, ' + budget.peer[5:]:42}{peer}  {verdict(cheap)}: {share}")
    return within and cheap


def verdict(kept: bool) -> str:
    """One word for a budget."""
    return "kept  " if kept else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
