"""The composition root: puts one worker process's recorder, journal and exporter together.

A door calls `start` once it is in the process that serves (after the fork, after setuid) and `stop` when
that process is done. Neither raises, and neither does anything in a master or in a forked child.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from server_tracing.capture.recorder import Recorder
from server_tracing.config import Loaded, destinations
from server_tracing.identity import anchor, boot_id, new_id
from server_tracing.journals import Journals
from server_tracing.record import Origin

if TYPE_CHECKING:
    from server_tracing.export import Pipeline
    from server_tracing.journal import Journal

log = logging.getLogger("server_tracing")

STOP_SECONDS = 2.0  # what a shutdown may be delayed by us, whatever the backends do

_current: Worker | None = None
_starting = threading.Lock()


class Worker:
    """One serving process, recorded."""

    def __init__(self, recorder: Recorder, journal: Journal, journals: Journals, pipeline: Pipeline) -> None:
        self.pid = os.getpid()
        self.recorder = recorder
        self.journal = journal
        self._journals = journals
        self._pipeline = pipeline
        self._stopped = False

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Deliver what can be delivered in `seconds`; the rest stays in the journal for whoever comes next."""
        if self._stopped or self.pid != os.getpid():
            return
        self._stopped = True
        try:
            self.recorder.mark("exit")
            if not self.recorder.open:
                self.journal.close_cleanly()
            self._pipeline.stop(seconds)
        except Exception:
            log.exception(
                "tracing could not be stopped in order; what is left is delivered by the next start"
            )

    def abort(self, reason: str) -> None:
        """Note why this process is about to be killed; safe in a signal handler."""
        if self.pid == os.getpid():
            self.journal.abort(reason)

    def __repr__(self) -> str:
        return f"<Worker {self.pid} · {self.recorder!r}>"


def start(
    loaded: Loaded,
    *,
    server: str,
    worker_class: str = "",
    app: str | None = None,
    timeout: float | None = None,
    trusted_proxies: str | Iterable[str] = (),
    reasons: Callable[[int], str | None] | None = None,
) -> Worker | None:
    """Begin to record in this process, once; None when tracing is off or cannot be had (and says why)."""
    global _current
    with _starting:
        if _current is not None and _current.pid == os.getpid() and not _current._stopped:
            return _current
        if not loaded.config.enabled:
            return None
        try:
            _current = _assemble(loaded, server, worker_class, app, timeout, trusted_proxies, reasons)
        except Exception:
            log.exception("tracing is off in this process: it could not be started")
            return None
        return _current


def current() -> Worker | None:
    """This process's worker, if it has one."""
    return _current if _current is not None and _current.pid == os.getpid() else None


def _assemble(
    loaded: Loaded,
    server: str,
    worker_class: str,
    app: str | None,
    timeout: float | None,
    trusted_proxies: str | Iterable[str],
    reasons: Callable[[int], str | None] | None,
) -> Worker:
    from server_tracing import export  # threads, SQLite and the like: only in a process that serves

    config = loaded.config
    service = config.service or (app or "").partition(":")[0] or "application"
    journals = Journals(
        config.state_dir, service=service, destinations=destinations(config), explicit=config.journal.dir
    )
    journal = journals.create(_origin(journals, server, worker_class), config.journal.size)
    for note in (*loaded.warnings, *journals.notes):
        log.warning("%s", note)
    recorder = Recorder(journal, headers=config.capture.headers)
    pipeline = export.start(
        loaded,
        journal,
        journals,
        open_slots=lambda: list(recorder.open.values()),
        trusted_proxies=trusted_proxies,
        timeout=timeout,
        reasons=reasons,
    )
    recorder.mark("boot", f"{server} {worker_class}".strip())
    return Worker(recorder, journal, journals, pipeline)


def _origin(journals: Journals, server: str, worker_class: str) -> Origin:
    wall, monotonic = anchor()
    return Origin(
        id=new_id(),
        seed=os.urandom(16),
        pid=os.getpid(),
        service=journals.service,
        destinations=journals.destinations,
        state_dir=journals.state_dir,
        server=server,
        worker_class=worker_class,
        host=socket.gethostname(),
        wall=wall,
        monotonic=monotonic,
        boot=boot_id(),
    )


def _in_child() -> None:
    global _starting
    _starting = threading.Lock()  # the inherited one may be held by a thread that does not exist here


os.register_at_fork(after_in_child=_in_child)
