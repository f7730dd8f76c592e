"""Telemetry items as the ingestion service takes them, and the lengths it allows.

After the schema published for writers of SDKs (the `.bond` files of microsoft/ApplicationInsights-Home,
EndpointSpecs/Schemas/Bond). Typed structs that the garbage collector need not know of: encoding them takes a
third of the time of dictionaries with the standard library's json (2.8 us an item against 8.6, measured).
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Raw, Struct

VERSION = 2  # of every kind of baseData

# Characters, as .NET counts them: UTF-16 units.
TAGS = {
    "ai.application.ver": 1024,
    "ai.cloud.role": 256,
    "ai.cloud.roleInstance": 256,
    "ai.device.id": 1024,
    "ai.device.locale": 64,
    "ai.device.model": 256,
    "ai.device.oemName": 256,
    "ai.device.osVersion": 256,
    "ai.device.type": 64,
    "ai.internal.sdkVersion": 64,
    "ai.location.ip": 45,
    "ai.operation.correlationVector": 64,
    "ai.operation.id": 128,
    "ai.operation.name": 1024,
    "ai.operation.parentId": 128,
    "ai.session.id": 64,
    "ai.user.accountId": 1024,
    "ai.user.authUserId": 1024,
    "ai.user.id": 128,
    "ai.user.userAgent": 2048,
}
ROLE, INSTANCE = TAGS["ai.cloud.role"], TAGS["ai.cloud.roleInstance"]
ADDRESS, AGENT, USER = TAGS["ai.location.ip"], TAGS["ai.user.userAgent"], TAGS["ai.user.authUserId"]
ID = 128
NAME = 1024
URL = 2048
SOURCE = 1024
CODE = 1024
KEY = 150
VALUE = 8192
MESSAGE = 32768
DATA = 8192
MOST_PROPERTIES = 100  # no limit of the service's: beyond that nobody looks, and items have one in bytes
SECONDS_PER_DAY = 86400
LONGEST = "999.23:59:59.999999"  # a duration must be shorter than a thousand days

VERBOSE, INFORMATION, WARNING, ERROR, CRITICAL = range(5)  # severityLevel


class Tags(
    Struct,
    gc=False,
    omit_defaults=True,
    rename={
        "role": "ai.cloud.role",
        "instance": "ai.cloud.roleInstance",
        "sdk": "ai.internal.sdkVersion",
        "version": "ai.application.ver",
        "operation": "ai.operation.id",
        "parent": "ai.operation.parentId",
        "name": "ai.operation.name",
        "address": "ai.location.ip",
        "agent": "ai.user.userAgent",
        "user": "ai.user.authUserId",
    },
):
    """The context of an item."""

    role: str
    instance: Raw
    sdk: Raw
    version: Raw | None = None
    operation: str | None = None
    parent: str | None = None
    name: str | None = None
    address: str | None = None
    agent: str | None = None
    user: str | None = None


class Measurements(Struct, gc=False, omit_defaults=True):
    """Numbers about a request."""

    ttfb_ms: float | None = None
    queue_ms: float | None = None
    cpu_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    messages_in: int | None = None
    messages_out: int | None = None
    worker_rss_bytes: int | None = None
    worker_cpu_percent: float | None = None


class RequestData(Struct, gc=False, omit_defaults=True):
    """A request that was served."""

    ver: int
    id: str
    name: str
    duration: str
    responseCode: str  # noqa: N815 - names of the protocol, here and below
    success: bool
    url: str | None = None
    source: str | None = None
    properties: dict[str, str] = {}
    measurements: Measurements | None = None


class RemoteDependencyData(Struct, gc=False, omit_defaults=True):
    """Something the request waited for, or a part of its work."""

    ver: int
    id: str
    name: str
    duration: str
    success: bool
    resultCode: str = ""  # noqa: N815
    type: str = ""
    target: str = ""
    data: str = ""
    properties: dict[str, str] = {}


class StackFrame(Struct, gc=False):
    """One line of a traceback; level 0 is where it was raised."""

    level: int
    method: str
    fileName: str  # noqa: N815
    line: int


class ExceptionDetails(Struct, gc=False, omit_defaults=True):
    """One exception of a chain; `outerId` is the one that was raised from it, 0 where that is none."""

    id: int
    typeName: str  # noqa: N815
    message: str
    hasFullStack: bool  # noqa: N815
    outerId: int  # noqa: N815
    stack: str = ""
    parsedStack: list[StackFrame] = []  # noqa: N815


class ExceptionData(Struct, gc=False, omit_defaults=True):
    """An exception with what it was raised from, the outermost first."""

    ver: int
    exceptions: list[ExceptionDetails]
    severityLevel: int  # noqa: N815
    problemId: str = ""  # noqa: N815
    properties: dict[str, str] = {}


class DataPoint(Struct, gc=False, omit_defaults=True):
    """A number, or (kind 1) what many numbers come to: `value` is their sum."""

    name: str
    value: float
    kind: int | None = None
    count: int | None = None


class MetricData(Struct, gc=False, omit_defaults=True):
    """One metric: the service stores the first of the list only."""

    ver: int
    metrics: list[DataPoint]
    properties: dict[str, str] = {}


class MessageData(Struct, gc=False, omit_defaults=True):
    """A line of a log."""

    ver: int
    message: str
    severityLevel: int  # noqa: N815
    properties: dict[str, str] = {}


BaseData = RequestData | RemoteDependencyData | ExceptionData | MetricData | MessageData


class Data(Struct, gc=False):
    """What an item says, behind its type."""

    baseType: Raw  # noqa: N815
    baseData: BaseData  # noqa: N815


class Envelope(Struct, gc=False, omit_defaults=True):
    """One item of telemetry. `sampleRate` says in percent for how much it stands: 25 for four."""

    name: Raw
    time: datetime
    iKey: Raw  # noqa: N815
    tags: Tags
    data: Data
    sampleRate: float = 100.0  # noqa: N815


def cut(text: str, limit: int) -> str:
    """`text` within `limit` UTF-16 units."""
    if len(text) * 2 <= limit or (len(text) <= limit and (text.isascii() or _units(text) <= limit)):
        return text
    units = text.encode("utf-16-le", "replace")[: 2 * (limit - 1)]
    return units.decode("utf-16-le", "ignore") + "…"


def _units(text: str) -> int:
    return len(text) + sum(letter > "\uffff" for letter in text)


def time_span(milliseconds: float) -> str:
    """`D.HH:MM:SS.ffffff`."""
    left = int(milliseconds * 1000 + 0.5) if milliseconds > 0 else 0
    if left < 1_000_000:
        return f"0.00:00:00.{str(1_000_000 + left)[1:]}"  # two thirds of the time of {left:06d}
    seconds, microseconds = divmod(left, 1_000_000)
    days, seconds = divmod(seconds, SECONDS_PER_DAY)
    if days > 999:
        return LONGEST
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{days}.{hours:02d}:{minutes:02d}:{seconds:02d}.{microseconds:06d}"
