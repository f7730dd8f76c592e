"""The composition root: puts one worker process's recorder, journal and exporter together.

A door calls `start` once it is in the process that serves (after the fork, after setuid) and `stop` when
that process is done. Neither raises, and neither does anything in a master or in a forked child.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from server_tracing.capture.recorder import Recorder
from server_tracing.config import Config, ConfigError, Loaded, without_exporter
from server_tracing.forwarding import addresses
from server_tracing.journal.journals import Journals
from server_tracing.naming import service_name
from server_tracing.sampling import Sampler, Told, sampler_for

if TYPE_CHECKING:
    from server_tracing.export import Pipeline
    from server_tracing.inside.host import Host
    from server_tracing.journal import Journal
    from server_tracing.journal.placement import Heard

log = logging.getLogger("server_tracing")

STOP_SECONDS = 2.0  # what a shutdown may be delayed by us, whatever the backends do

_current: Worker | None = None
_starting = threading.Lock()


class Worker:
    """One serving process, recorded."""

    def __init__(
        self,
        recorder: Recorder,
        journal: Journal,
        journals: Journals,
        pipeline: Pipeline,
        host: Callable[[], Host],
        bridges: tuple[str, ...] = (),
    ) -> None:
        self.pid = os.getpid()
        self.recorder = recorder
        self.journal = journal
        self.host = host  # what inside/ needs of this worker, made when it is first used
        self.bridges = bridges
        self._journals = journals
        self._pipeline = pipeline
        self._stopped = False

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Deliver what can be delivered in `seconds`; the rest waits for whoever comes next."""
        if self._part():
            self._leave(seconds)

    def stop_when_served(self, seconds: float = STOP_SECONDS) -> None:
        """As `stop`, but after the threads that the interpreter waits for: gthread's go on with what they are
        at after the graceful timeout, even begin what they were given before, and clients get their answers
        (ran: 9 times in 300 kills)."""
        if not self._part():
            return
        if any(map(is_waited_for, threading.enumerate())):
            atexit.register(self._leave_at_last, seconds)
        else:
            self._leave(seconds)

    def _part(self) -> bool:
        """Note that this process ends, by itself; False if it has said so, or is another one."""
        if self._stopped or self.pid != os.getpid():
            return False
        self._stopped = True
        self.recorder.mark("exit")
        self.journal.close_cleanly()
        return True

    def _leave_at_last(self, seconds: float) -> None:
        with suppress(SystemExit):  # of a signal handler of the server's, which has nothing left to leave
            self._leave(seconds)

    def _leave(self, seconds: float) -> None:
        if self.pid != os.getpid():
            return
        try:
            self._pipeline.stop(seconds)
        except Exception:
            log.exception(
                "tracing could not be stopped in order; what is left is delivered by the next start"
            )

    def open_inside(self) -> None:
        """Follow requests for the application from the first one on, if it is going to ask."""
        try:
            from server_tracing.inside.opening import consider

            consider(self.host, self.bridges)
        except Exception:
            log.exception("the application cannot ask for its requests")

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
    reasons: Callable[[int], tuple[str, int] | None] | None = None,
    application: object = None,
) -> Worker | None:
    """Begin to record in this process, once; None when tracing is off or cannot be had (and says why)."""
    global _current
    with _starting:
        if _current is not None and _current.pid == os.getpid() and not _current._stopped:
            return _current
        if not loaded.config.enabled:
            return None
        loaded = completed(loaded, application)
        if not loaded.config.enabled:
            return None
        try:
            _current = _assemble(loaded, server, worker_class, app, timeout, trusted_proxies, reasons)
        except Exception:
            log.exception("tracing is off in this process: it could not be started")
            return None
        _current.open_inside()
        return _current


def current() -> Worker | None:
    """This process's worker, if it has one."""
    return _current if _current is not None and _current.pid == os.getpid() else None


def completed(loaded: Loaded, application: object) -> Loaded:
    """The settings with what the application's own add, and done what those ask for besides."""
    from server_tracing.adoption import adopt

    try:
        return adopt(loaded, application)
    except ConfigError as error:
        log.error("%s The exporter is left out.", error)
        return without_exporter(loaded, "azure")
    except Exception:
        log.exception("the application's own settings are not read")
        return loaded


def _assemble(
    loaded: Loaded,
    server: str,
    worker_class: str,
    app: str | None,
    timeout: float | None,
    trusted_proxies: str | Iterable[str],
    reasons: Callable[[int], tuple[str, int] | None] | None,
) -> Worker:
    from server_tracing import export  # threads, SQLite and the like: only in a process that serves
    from server_tracing.capture.finding import slot_in

    config = loaded.config
    service = service_name(config, app)
    journals = Journals.of(config, service)
    journal = journals.create(journals.origin(server, worker_class), config.journal.size)
    for note in (*loaded.warnings, *journals.take_notes()):
        log.warning("%s", note)
    recorder = Recorder(journal, headers=config.capture.headers)
    sampler = sampler_for(config)
    process = export.Process(
        open_slots=lambda: list(recorder.open.values()),
        trusted_proxies=trusted_proxies,
        stuck_after=export.too_long(config.capture.stuck_after, timeout),
        reasons=reasons,
        sampler=sampler,
        applications=lambda: recorder.applications,
        whereabouts=export.Whereabouts(slot_in, lambda: recorder.loops, lambda: recorder.pools),
    )
    pipeline = export.start(loaded, journal, journals, process)
    recorder.mark("boot", f"{server} {worker_class}".strip())
    host = partial(host_for, recorder, config, sampler, addresses(trusted_proxies))
    if config.response_header:
        from server_tracing.inside.announcing import announcer

        recorder.announce = announcer(host())
    return Worker(recorder, journal, journals, pipeline, host, bridges_of(config))


def host_for(recorder: Recorder, config: Config, sampler: Sampler, proxies: Iterable[str]) -> Host:
    """What inside/ needs of a worker: this is where capture, sampling and it meet."""
    from server_tracing.capture.faults import fault_from
    from server_tracing.capture.finding import slot_of
    from server_tracing.inside.host import Host
    from server_tracing.journal.placement import Placement

    origin = recorder.journal.origin
    return Host(
        origin=origin,
        clock=recorder.clock,
        append=recorder.journal.append,
        open=recorder.open,
        follow=recorder.follow,
        slot_of=slot_of,
        fault_from=fault_from,
        heard=Placement(config, origin, proxies).heard,
        decide=partial(told, sampler),
        config=config,
        bridges=bridges_of(config),
    )


def bridges_of(config: Config) -> tuple[str, ...]:
    """The libraries whose spans join our requests: where their backend is ours to serve. Else they serve it
    themselves, as they did."""
    wanted = {
        "xray": "xray" in config.exporters or (config.xray.enabled and config.xray.patch),
        "opencensus": "azure" in config.exporters or config.azure.integrations,
    }
    return tuple(name for name, yes in wanted.items() if yes)


def told(sampler: Sampler, heard: Heard) -> Told:
    """The decision to tell others. What is excluded has no record that others' could hang on, and takes no
    part in what is sampled: only its caller can want it."""
    if heard.excluded:
        return Told(bool(heard.context.sampled))
    return sampler.propagated(
        heard.trace_id,
        heard.context,
        heard.host,
        heard.method,
        heard.path,
        heard.service,
        heard.span_id,
    )


def is_waited_for(thread: threading.Thread) -> bool:
    """Does the interpreter not end before it?"""
    return not thread.daemon and thread is not threading.main_thread()


def _in_child() -> None:
    global _starting
    _starting = threading.Lock()  # the inherited one may be held by a thread that does not exist here


os.register_at_fork(after_in_child=_in_child)
