"""What travels: the frames that a request leaves in the journal, and the finished records made of them.

A frame is written in the request by plain tuples (fast) and read back into the structs below (typed, so
that nothing a journal holds can surprise the reader). The order of a struct's fields *is* the format:
a new field goes to the end, with a default; anything else is a new `SCHEMA`.

Nothing here can be part of a cycle, so the garbage collector is not told of it (`gc=False`): thousands of
records a second would otherwise make it run, in the application's threads as well.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from typing import Generic, TypeVar

from msgspec import Struct

SCHEMA = 1


class Kind(IntEnum):
    """The kinds of frame; a number, once used, keeps its meaning."""

    PAD = 0  # room left at the end of the ring
    BEGIN_TEXT = 1  # Begin[str]: what WSGI servers hand out
    BEGIN_BYTES = 2  # Begin[bytes]: what ASGI servers hand out
    CARRIED = 3  # Carried: a begin the reader moved out of the way of newer ones
    HEAD = 4  # Head
    END = 5  # End
    END_MINIMAL = 6  # fixed layout, for which room is reserved when a request begins
    SPAN = 7  # Span
    NOTE = 8  # Note
    STACK = 9  # Stack
    VITALS = 10  # Vitals
    MARK = 11  # Mark


class Outcome(IntEnum):
    """What became of a request (`DISCONNECTED` and the rest as the README explains them)."""

    OK = 0
    ERROR = 1
    DISCONNECTED = 2
    REJECTED = 3
    KILLED = 4
    RUNNING = 5


Text = TypeVar("Text", str, bytes)


class Begin(Struct, Generic[Text], array_like=True, gc=False):
    """What is known when a request begins. `start` is the process's monotonic clock, as every stamp here."""

    number: int  # counts the worker's requests; with the journal's seed it gives the ids
    start: int
    method: str
    target: Text  # path and query as sent
    version: str
    scheme: str
    client: str
    port: int
    headers: list[tuple[Text, Text]]  # only those that are wanted, never cookies or credentials
    thread: int = 0  # `get_ident()`: tells its stack among those that a dying process leaves


class Carried(Struct, array_like=True, gc=False):
    """A begin (and its head, if sent) copied forward, so that an open request does not pin the ring."""

    kind: int
    begin: bytes
    first_byte: int = 0
    status: int = 0


class Head(Struct, array_like=True, gc=False):
    """The response has begun; written for requests that do not end soon after."""

    number: int
    first_byte: int
    status: int


class Frame(Struct, array_like=True, gc=False):
    """One line of a traceback."""

    path: str
    line: int
    function: str


class Fault(Struct, array_like=True, gc=False):
    """An exception; `cause` is the one it was raised from, `explicit` when by `raise ... from`."""

    type: str
    message: str
    frames: list[Frame] = []
    cause: Fault | None = None
    explicit: bool = False
    skipped: int = 0  # frames left out of a very deep stack


class End(Struct, array_like=True, gc=False):
    """What became of a request."""

    number: int
    stop: int
    outcome: int
    status: int = 0
    first_byte: int = 0
    response_bytes: int = -1
    request_bytes: int = -1
    reason: str = ""
    cpu: int = -1  # nanoseconds
    route: str = ""
    fault: Fault | None = None
    close_code: int = -1
    messages_in: int = -1
    messages_out: int = -1
    event_stream: bool = False


class Span(Struct, array_like=True, gc=False):
    """A piece of a request's work, as the application or a library told it; `stop` 0 while it runs."""

    number: int
    span_id: int
    parent_id: int  # 0: the request itself
    name: str
    kind: str
    start: int
    stop: int
    annotations: dict[str, str | int | float | bool] = {}
    metadata: dict[str, object] = {}
    fault: Fault | None = None


class Note(Struct, array_like=True, gc=False):
    """Something the application said of its request: `what` is annotation, metadata, user, name, route,
    sampled, spans_dropped or exception (its value a Fault)."""

    number: int
    what: str
    key: str
    value: object
    namespace: str = ""


class Stack(Struct, array_like=True, gc=False):
    """Where a request was when it had been running for too long."""

    number: int
    stamp: int
    frames: list[Frame] = []


class Counts(Struct, array_like=True, gc=False):
    """What requests that ended came to, all of them: sampled, not sampled, and lost in a full journal."""

    requests: int = 0
    timed: int = (
        0  # of these, those that lasted as long as their answer took: no WebSockets, no event streams
    )
    busy_ms: float = 0.0  # what the timed ones took together
    exceptions: int = 0

    def __sub__(self, before: Counts) -> Counts:
        return Counts(
            self.requests - before.requests,
            self.timed - before.timed,
            max(0.0, self.busy_ms - before.busy_ms),
            self.exceptions - before.exceptions,
        )


class Vitals(Struct, array_like=True, gc=False):
    """How a worker was: -1 where the kernel does not tell."""

    stamp: int
    rss: int  # bytes
    cpu: float  # percent of one core since the last time
    threads: int
    files: int
    in_flight: int
    served: int
    accept_queue: int = -1
    machine_cpu: float = -1.0
    available: int = -1  # bytes of memory left on the machine
    window: int = 0  # nanoseconds that these vitals close, for those who tell of counts over time; 0: none
    counts: Counts | None = None  # of the window
    told: Counts | None = None  # of all windows closed so far ...
    told_until: int = 0  # ... the last of them at this stamp


class Mark(Struct, array_like=True, gc=False):
    """Something that happened to the worker itself: boot, lifespan start-up or shut-down, an exit."""

    stamp: int
    what: str
    detail: str = ""
    fault: Fault | None = None


class Origin(Struct, kw_only=True, frozen=True):
    """Whose journal this is and how to read its stamps; stands in the journal's header."""

    schema: int = SCHEMA
    id: str  # random, names the journal's files
    seed: bytes  # 16 random bytes from which the ids of its requests are derived
    pid: int
    service: str
    destinations: str  # digest of where the records go; only the like-minded may claim
    state_dir: str
    server: str = ""  # "gunicorn 27.0.1"
    worker_class: str = ""  # "sync"
    host: str = ""
    wall: int = 0  # time_ns() ...
    monotonic: int = 0  # ... when monotonic_ns() said this
    boot: str = ""  # after a reboot monotonic stamps of today mean nothing here


# ---------------------------------------------------------------- finished records


class ExceptionInfo(Struct, omit_defaults=True, gc=False):
    """An exception as shown: `stack` is text, innermost call last; `cause` what it was raised from."""

    type: str
    message: str
    stack: str = ""
    cause: ExceptionInfo | None = None
    frames: list[Frame] = []
    skipped: int = 0  # frames left out of a very deep stack


class FinishedSpan(Struct, omit_defaults=True, kw_only=True, gc=False):
    """A span of a finished request; without `duration_ms` it had not ended.

    Some names in `metadata` have a meaning to backends that know them, as X-Ray's segment documents have it:
    `namespace` ("remote" or "aws"), `http`, `sql`, `aws` (blocks of a call to somebody else), `error`,
    `fault`, `throttle` (true), `cause` ({"remote": true} of an exception of theirs), `metadata` (by
    namespace). Whoever records such a call puts them there; what is named otherwise is only looked at.
    https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html#api-segmentdocuments-subsegments
    """

    span_id: str
    parent_id: str
    name: str
    kind: str
    start: datetime
    duration_ms: float | None = None
    annotations: dict[str, str | int | float | bool] = {}
    metadata: dict[str, object] = {}
    exception: ExceptionInfo | None = None


class WorkerVitals(Struct, omit_defaults=True, kw_only=True, tag_field="record", tag="vitals", gc=False):
    """A worker's vitals at one time; absent is what the system does not tell."""

    time: datetime
    service: str
    worker_pid: int
    worker_class: str = ""
    host: str = ""
    rss_bytes: int | None = None
    cpu_percent: float | None = None  # of one core, since the vitals before
    threads: int | None = None
    open_files: int | None = None
    in_flight: int
    served: int
    accept_queue: int | None = None
    machine_cpu_percent: float | None = None
    available_bytes: int | None = None
    window_ms: float = 0.0  # that these vitals close, with what ended in it; 0: they close none
    counts: Counts | None = None
    unsent: list[int] = []  # see Request


class Event(Struct, omit_defaults=True, kw_only=True, tag_field="record", tag="event", gc=False):
    """Something that happened to a worker."""

    time: datetime
    service: str
    worker_pid: int
    what: str
    detail: str = ""
    worker_class: str = ""
    exception: ExceptionInfo | None = None


class Request(Struct, omit_defaults=True, kw_only=True, tag_field="record", tag="request", gc=False):
    """One request the server saw, complete. Absent means unknown; the README explains each field."""

    trace_id: str  # 32 hex digits
    span_id: str  # 16 hex digits
    parent_id: str | None = None
    service: str
    method: str | None = None
    scheme: str | None = None
    http_version: str | None = None
    host: str | None = None
    path: str | None = None
    query: str | None = None
    route: str | None = None
    status: int | None = None
    outcome: str
    reason: str | None = None
    start: datetime
    duration_ms: float
    ttfb_ms: float | None = None
    queue_ms: float | None = None
    cpu_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    client_ip: str | None = None
    forwarded: str | None = None  # which header client_ip came from
    user_agent: str | None = None
    server: str | None = None
    worker_pid: int
    worker_class: str | None = None
    sampled: bool = True
    kept_because: str | None = None
    sample_rate: float = 1.0
    exception: ExceptionInfo | None = None
    stack: str | None = None  # where it was when it was stuck
    close_code: int | None = None
    messages_in: int | None = None
    messages_out: int | None = None
    event_stream: bool = False
    annotations: dict[str, str | int | float | bool] = {}
    metadata: dict[str, dict[str, object]] = {}
    user: str | None = None
    name: str | None = None
    headers: dict[str, str] = {}
    spans: list[FinishedSpan] = []
    spans_dropped: int = 0
    vitals: WorkerVitals | None = None  # of a killed worker, the last before it died
    # What only exporters need:
    parent_sampled: bool | None = None  # the caller's decision, where it is believed
    tracestate: str | None = None
    xray_extra: str | None = None  # fields of X-Amzn-Trace-Id to hand on: Lineage, Self, ...
    rule: str | None = None  # the sampling rule that decided
    # After a partial success, of the items that a backend makes of this record those still to be sent:
    unsent: list[int] = []
    central: bool = False  # whether `rule` is one of X-Ray's console


class Running(Struct, gc=False):
    """A request that has not ended and has taken long: for exporters that show such. It is in no account and
    never kept on disk: its end will come as a `Request` of the same ids."""

    request: Request


Record = Request | WorkerVitals | Event | Running
