"""Our segments beside the X-Ray SDK's, of the same requests: what is not listed here is the same."""

from __future__ import annotations

import json
import platform
from typing import Any

import pytest
from believable import failed, request
from segment_schema import checked

from server_tracing.export.xray.documents import encode
from server_tracing.export.xray.segments import Segments
from server_tracing.record import Request

pytest.importorskip("aws_xray_sdk")

from aws_xray_sdk.core.models.segment import Segment
from aws_xray_sdk.core.plugins.utils import get_plugin_modules

OURS = {"server_tracing"}  # the namespace of what the SDK does not know
IDENTITY = ("sdk", "sdk_version", "auto_instrumentation")


def theirs(one: Request) -> dict[str, Any]:
    """The segment that the SDK's middleware for Django makes of this request."""
    segment = Segment(
        one.service,
        entityid=one.span_id,
        traceid=f"1-{one.trace_id[:8]}-{one.trace_id[8:]}",
        parent_id=one.parent_id,
    )
    segment.start_time = one.start.timestamp()
    told = {
        "url": f"{one.scheme}://{one.host}{one.path}" + (f"?{one.query}" if one.query else ""),
        "method": one.method,
        "user_agent": one.user_agent,
        "client_ip": one.client_ip,
        "status": one.status,
        "content_length": one.response_bytes,
    }
    for key, value in told.items():
        segment.put_http_meta(key, value)
    if one.forwarded:
        segment.put_http_meta("x_forwarded_for", True)
    for key, value in one.annotations.items():
        segment.put_annotation(key, value)
    for namespace, values in one.metadata.items():
        for key, value in values.items():
            segment.put_metadata(key, value, namespace)
    if one.user:
        segment.set_user(one.user)
    segment.set_aws({"xray": {}})  # what the SDK's recorder puts there says who it is
    if one.rule:
        segment.set_rule_name(one.rule)
    segment.set_service({"runtime": "CPython", "runtime_version": platform.python_version()})
    segment.close(one.start.timestamp() + one.duration_ms / 1000)
    return json.loads(segment.serialize())


def ours(one: Request) -> dict[str, Any]:
    told = checked(encode(Segments().segment(one)))
    told["metadata"] = {name: values for name, values in told["metadata"].items() if name not in OURS}
    return told


PLAIN = request(1, response_bytes=0)
RICH = request(
    2,
    query="page=2",
    forwarded="x-forwarded-for",
    parent_id="53995c3f42cd8ad8",
    annotations={"customer": 17, "gold": True, "share": 0.5, "name": "Ada"},
    metadata={"default": {"cart": [1, {"a": None}]}, "shop": {"b": "c"}},
    user="ada",
    rule="checkout",
    central=True,
)


@pytest.mark.parametrize(
    "one",
    [PLAIN, RICH, *[request(3, status=status) for status in (304, 404, 429, 503)]],
    ids=["plain", "rich", "304", "404", "429", "503"],
)
def test_a_segment_says_what_the_sdks_says(one):
    """But for who made it, and for what is false."""
    mine, other = ours(one), theirs(one)
    assert other.pop("in_progress") is False
    for document in (mine, other):
        document["aws"]["xray"] = {k: v for k, v in document["aws"]["xray"].items() if k not in IDENTITY}
        document.setdefault("metadata", {})
    assert mine == other


def test_an_exception_says_more_than_the_sdks():
    """The same fields, a path instead of a file's name, and what it came from."""
    one = failed(4)
    segment = Segment(one.service)
    stack = [(frame.path, frame.line, frame.function, None) for frame in one.exception.frames]
    segment.add_exception(type("OutOfStock", (Exception,), {})(one.exception.message), stack)
    segment.close()
    (other,) = json.loads(segment.serialize())["cause"]["exceptions"]
    first, second = ours(one)["cause"]["exceptions"]
    assert set(first) == {*other, "cause"} - {"remote"}  # which is false
    assert (first["type"], first["message"]) == (other["type"], other["message"])
    assert [frame["path"].rpartition("/")[2] for frame in first["stack"]] == [
        frame["path"] for frame in other["stack"]
    ]
    assert second["type"] == "KeyError"


def test_every_plugin_of_the_sdk_is_known_by_its_name():
    """So that a list of them can be taken over as it is."""
    from server_tracing.config.accepted import plugins

    names = ["EC2Plugin", "ECSPlugin", "ElasticBeanstalkPlugin"]
    assert [module.SERVICE_NAME for module in get_plugin_modules(names)] == list(plugins(names))
