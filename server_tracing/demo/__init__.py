"""`server-tracing demo`: a small shop under gunicorn, a bad day in it, and the tables that show it all.

It uses a temporary folder of its own, ends by itself, and checks what it shows: the exit code is 0 only
if every request that was made has its one record, that of the killed worker among them.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from server_tracing.demo.stage import DemoError, Stage, until

TRAFFIC = ["/", "/products/1", "/products/2", "/products/3", "/nothing-here"] * 24
BAD_DAY = {"error": "/basket", "slow": "/reports/daily", "killed": "/checkout"}


def run(keep: bool = False) -> int:
    """Play it all; with `keep` the shop goes on afterwards. The exit code."""
    if importlib.util.find_spec("gunicorn") is None:
        return failed("the demonstration needs gunicorn: pip install 'server-tracing[gunicorn]'")
    stage = Stage(Path(tempfile.mkdtemp(prefix="server-tracing-demo-")))
    done = False
    try:
        play(stage)
        done = True
    except DemoError as trouble:
        return failed(str(trouble))
    finally:
        if not (keep and done):
            stage.close()
            shutil.rmtree(stage.folder, ignore_errors=True)
    say_goodbye(stage, keep)
    return 0


def play(stage: Stage) -> None:
    """A day in the shop, and its records."""
    tell("A shop opens under `gunicorn -c python:server_tracing.gunicorn shop:app`, two workers.")
    stage.open()
    visits = 1 + have_a_bad_day(stage)
    killed = find_the_killed(stage)
    until(lambda: len(ended(stage)) >= visits, "some requests have no record")
    check(ended(stage), visits)
    tell(f"All {visits} requests have their record. The newest:")
    stage.show("requests", "--limit", "12")
    tell("What the day was like, by exact counts:")
    stage.show("stats")
    tell("The request that was in flight when its worker was killed; no code ran in that worker afterwards:")
    stage.show("trace", killed["trace_id"])
    tell("Nothing was lost on the way, and the recorder says so:")
    stage.show("health")


def have_a_bad_day(stage: Stage) -> int:
    """Traffic, an error, a slow page, a refused request, a killed worker; how many requests that were."""
    with ThreadPoolExecutor(8) as visitors:
        slow = visitors.submit(stage.visit, BAD_DAY["slow"])
        answered = list(visitors.map(stage.visit, TRAFFIC))
        tell(f"{len(answered)} visitors look around, and one waits for a slow report: {slow.result()}.")
        tell(f"One looks into a basket, and the application raises: {stage.visit(BAD_DAY['error'])}.")
        tell(f"One does not speak HTTP, and gunicorn refuses before the application runs: {stage.mumble()}.")
        paying = visitors.submit(stage.visit, BAD_DAY["killed"])
        worker = stage.kill_who_waits_at_the_till()
        answer = paying.result() or "no answer"
        tell(f"One pays, and worker {worker} is killed with SIGKILL meanwhile: {answer}.")
    return len(TRAFFIC) + 4


def find_the_killed(stage: Stage) -> dict[str, Any]:
    """The record of the request that took its worker along."""
    sentence = "the request that was in flight when its worker was killed was not found"
    killed: dict[str, Any] = until(lambda: stage.records("--outcome", "killed"), sentence)[0]
    if killed["path"] != BAD_DAY["killed"]:
        raise DemoError(f"not the checkout was reported as killed, but {killed['path']}")
    return killed


def ended(stage: Stage) -> list[dict[str, Any]]:
    """The records of requests that have ended."""
    return [record for record in stage.records() if record["outcome"] != "running"]


def check(records: list[dict[str, Any]], visits: int) -> None:
    """Every request once, and each kind of trouble under its own name."""
    if len(records) != visits or len({record["span_id"] for record in records}) != visits:
        raise DemoError(f"{visits} requests were made, and {len(records)} records are there")
    outcomes = [record["outcome"] for record in records]
    for outcome in ("error", "rejected", "killed"):
        if outcomes.count(outcome) != 1:
            raise DemoError(
                f"there should be one request with outcome {outcome}, not {outcomes.count(outcome)}"
            )
    slow = [record for record in records if record["path"] == BAD_DAY["slow"]]
    if [record["duration_ms"] >= 1000 for record in slow] != [True]:
        raise DemoError("the slow report was not recorded as slow")


def say_goodbye(stage: Stage, keep: bool) -> None:
    """Where to go from here."""
    if not keep or stage.server is None:
        tell("That was it: the shop is closed and its folder removed. server-tracing --help says more.")
        return
    tell(f"The shop is still open: http://127.0.0.1:{stage.port}/ (also /products/1 /basket /reports/daily).")
    print(f"   look:  server-tracing requests --follow --state-dir {stage.state}")
    print(f"   stop:  kill {stage.server.pid}; rm -r {stage.folder}")


def tell(sentence: str) -> None:
    """What happens, for the audience."""
    print(f"\n{sentence}", flush=True)


def failed(sentence: str) -> int:
    """Say why it did not work."""
    print(f"server-tracing demo: {sentence}", file=sys.stderr)
    return 1
