"""The published schema of telemetry items, as the ingestion service applies it: what is wrong with an item?

Written from the documents for writers of SDKs (EndpointSpecs/Schemas/Docs in ApplicationInsights-Home), not
from our own code. Lengths count UTF-16 units, as .NET does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,7})?Z")
TIME_SPAN = re.compile(r"(?:(\d{1,3})\.)?([01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,7})?")
SDK_VERSION = re.compile(r"(?:[a-z]_)?[a-z][a-z0-9-]*:\d+\.\d+\.\d+\S*")  # asked for, not enforced
PAST, FUTURE = timedelta(hours=48), timedelta(hours=2)
LARGEST = 64 << 10  # bytes of an item

TAGS = {
    "ai.application.ver": 1024,
    "ai.cloud.role": 256,
    "ai.cloud.roleInstance": 256,
    "ai.internal.sdkVersion": 64,
    "ai.location.ip": 45,
    "ai.operation.id": 128,
    "ai.operation.name": 1024,
    "ai.operation.parentId": 128,
    "ai.operation.syntheticSource": 1024,
    "ai.session.id": 64,
    "ai.user.accountId": 1024,
    "ai.user.authUserId": 1024,
    "ai.user.id": 128,
    "ai.user.userAgent": 2048,
    "ai.device.id": 1024,
    "ai.device.locale": 64,
    "ai.device.osVersion": 256,
    "ai.device.type": 64,
}

Check = Callable[[Any], str]  # what is wrong with a value, or nothing


def units(value: str) -> int:
    return len(value.encode("utf-16-le")) // 2


def text(limit: int, required: bool = False) -> Check:
    def check(value: Any) -> str:
        if value is None:
            return "is required" if required else ""
        if not isinstance(value, str):
            return f"is {type(value).__name__}, expected: string"
        if required and not value:
            return "is empty"
        return f"has {units(value)} characters, at most {limit}" if units(value) > limit else ""

    return check


def number(required: bool = False, whole: bool = False) -> Check:
    def check(value: Any) -> str:
        if value is None:
            return "is required" if required else ""
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            return f"is {value!r}, expected: {'int' if whole else 'double'}"
        return "" if math.isfinite(value) else "is no number"

    return check


def boolean(value: Any) -> str:
    return "" if value is None or isinstance(value, bool) else f"is {value!r}, expected: bool"


def required_boolean(value: Any) -> str:
    return boolean(value) if value is not None else "is required"


def duration(value: Any) -> str:
    return "" if isinstance(value, str) and TIME_SPAN.fullmatch(value) else f"is {value!r}, no time span"


def version(value: Any) -> str:
    return "" if value == 2 and not isinstance(value, bool) else f"is {value!r}, expected: 2"


def severity(value: Any) -> str:
    return "" if value is None or value in range(5) else f"is {value!r}, expected: 0 to 4"


def pairs(values: Check) -> Check:
    def check(value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, dict):
            return "is no object"
        for key, inner in value.items():
            if units(key) > 150:
                return f"has the key {key[:20]}... of {units(key)} characters, at most 150"
            if wrong := values(inner):
                return f"[{key!r}] {wrong}"
        return ""

    return check


def items_of(fields: dict[str, Check], least: int = 0) -> Check:
    def check(value: Any) -> str:
        if value is None:
            return "is required" if least else ""
        if not isinstance(value, list):
            return f"is {type(value).__name__}, expected: array"
        if len(value) < least:
            return "is empty"
        return next((wrong for inner in value for wrong in failures(inner, fields)), "")

    return check


PROPERTIES = pairs(text(8192, required=False))
MEASUREMENTS = pairs(number(required=True))

FRAME: dict[str, Check] = {
    "level": number(required=True, whole=True),
    "method": text(1024, required=True),
    "assembly": text(1024),
    "fileName": text(1024),
    "line": number(whole=True),
}
DETAILS: dict[str, Check] = {
    "id": number(whole=True),
    "outerId": number(whole=True),
    "typeName": text(1024, required=True),
    "message": text(32768, required=True),
    "hasFullStack": boolean,
    "stack": text(32768),
    "parsedStack": items_of(FRAME),
}
POINT: dict[str, Check] = {
    "ns": text(256),
    "name": text(1024, required=True),
    "kind": lambda value: "" if value in (None, 0, 1) else f"is {value!r}",
    "value": number(required=True),
    "count": number(whole=True),
    "min": number(),
    "max": number(),
    "stdDev": number(),
}
BASE: dict[str, dict[str, Check]] = {
    "RequestData": {
        "ver": version,
        "id": text(128, required=True),
        "name": text(1024),
        "url": text(2048),
        "source": text(1024),
        "duration": duration,
        "responseCode": text(1024, required=True),
        "success": required_boolean,
        "properties": PROPERTIES,
        "measurements": MEASUREMENTS,
    },
    "RemoteDependencyData": {
        "ver": version,
        "id": text(128),
        "name": text(1024, required=True),
        "resultCode": text(1024),
        "duration": duration,
        "success": boolean,
        "data": text(8192),
        "type": text(1024),
        "target": text(1024),
        "properties": PROPERTIES,
        "measurements": MEASUREMENTS,
    },
    "ExceptionData": {
        "ver": version,
        "exceptions": items_of(DETAILS, least=1),
        "severityLevel": severity,
        "problemId": text(1024),
        "properties": PROPERTIES,
        "measurements": MEASUREMENTS,
    },
    "MetricData": {"ver": version, "metrics": items_of(POINT, least=1), "properties": PROPERTIES},
    "MessageData": {
        "ver": version,
        "message": text(32768, required=True),
        "severityLevel": severity,
        "properties": PROPERTIES,
        "measurements": MEASUREMENTS,
    },
}


def wrong_with(item: Any, size: int, now: datetime | None) -> str:
    """What the service finds wrong with an item of `size` bytes at a time (None: at any), or nothing."""
    return next(complaints(item, size, now), "")


def complaints(item: Any, size: int, now: datetime | None) -> Iterator[str]:
    """Everything that is wrong."""
    if not isinstance(item, dict):
        yield "100: the item is no object"
        return
    if size > LARGEST:
        yield f"101: the item has {size} bytes, at most {LARGEST}"
    yield from envelope(item, now)
    yield from (f"104: Field 'tags' {wrong}" for wrong in tags(item.get("tags") or {}))
    data = item.get("data") or {}
    kind = str(item.get("name", "")).removeprefix("Microsoft.ApplicationInsights.")
    if data.get("baseType") != f"{kind}Data":
        yield f"105: Field 'baseType' is {data.get('baseType')!r} in an item called {item.get('name')!r}"
    fields = BASE.get(str(data.get("baseType")))
    if fields is None:
        yield f"105: Field 'baseType' is {data.get('baseType')!r}"
    else:
        yield from (f"106: {wrong}" for wrong in failures(data.get("baseData"), fields))


def envelope(item: dict[str, Any], now: datetime | None) -> Iterator[str]:
    for name, check in {"name": text(1024, required=True), "iKey": text(40), "seq": text(64)}.items():
        if wrong := check(item.get(name)):
            yield f"102: Field '{name}' {wrong}"
    if not GUID.fullmatch(str(item.get("iKey"))):
        yield "102: Field 'iKey' is no GUID"
    rate = item.get("sampleRate")
    if rate is not None and (number(required=True)(rate) or not 0 < rate <= 100):
        yield f"102: Field 'sampleRate' is {rate!r}"
    time = item.get("time")
    if not isinstance(time, str) or not TIME.fullmatch(time):
        yield f"103: Field 'time' on type 'Envelope' is {time!r}, no UTC time"
        return
    at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", time).replace("Z", "+00:00"))
    if now is None:
        return
    if at < now - PAST:
        yield "103: Field 'time' on type 'Envelope' is older than the allowed min date."
    elif at > now + FUTURE:
        yield "103: Field 'time' on type 'Envelope' is newer than the allowed max date."


def tags(given: dict[str, Any]) -> Iterator[str]:
    for name, value in given.items():
        limit = TAGS.get(name)
        if limit is None:
            yield f"{name!r} is not known"
        elif wrong := text(limit, required=True)(value):
            yield f"{name!r} {wrong}"


def failures(value: Any, fields: dict[str, Check]) -> Iterator[str]:
    """What is wrong with an object; fields that are not known are wrong, too: a typo would go unseen."""
    if not isinstance(value, dict):
        yield "it is no object"
        return
    for name, check in fields.items():
        if wrong := check(value.get(name)):
            yield f"Field '{name}' {wrong}"
    for name in sorted(set(value) - set(fields)):
        yield f"Field '{name}' is not known"
