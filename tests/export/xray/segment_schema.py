"""What X-Ray takes for a segment document, as JSON Schema: the published one (version 1.0.0), transcribed.

Where the developer guide is newer or stricter, its word counts: ids and trace ids in hexadecimal, an
`end_time` or `in_progress`, names within their characters, 250 characters for what is not said to be longer,
the blocks of `aws` for EKS, CloudWatch and X-Ray. What neither knows is refused: a typo would be lost without
a word.
https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from jsonschema import Draft202012Validator

MOST = 65_536  # bytes
SYMBOLS = set("_.:/%&#=+\\-@")


def text(longest: int = 250, **more: Any) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest, **more}


def some(**properties: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}


def listed(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


ANY = {"type": "string"}
TRUE = {"const": True}
NUMBER = {"type": "number", "minimum": 0}
COUNT = {"type": "integer", "minimum": 0}
ID = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
TRACE_ID = {"type": "string", "pattern": "^1-[0-9a-f]{8}-[0-9a-f]{24}$"}

STACK = listed({**some(path=text(), line={"type": "integer"}, label=text()), "minProperties": 0})
EXCEPTION = {
    **some(
        id=ID,
        message=ANY,
        type=ANY,
        remote={"type": "boolean"},
        truncated=COUNT,
        skipped=COUNT,
        cause=ID,
        stack=STACK,
    ),
    "required": ["id"],
}
CAUSE = {"oneOf": [ID, some(working_directory=ANY, paths=listed(ANY), exceptions=listed(EXCEPTION))]}
ANNOTATIONS = {
    "type": "object",
    "patternProperties": {
        "^[a-zA-Z0-9_]{1,500}$": {"type": ["string", "number", "boolean"], "maxLength": 1000}
    },
    "additionalProperties": False,
    "maxProperties": 50,
}
METADATA = {
    "type": "object",
    "additionalProperties": {"type": "object"},
    "propertyNames": {"not": {"pattern": "^AWS\\."}},
}
RESPONSE = some(status=COUNT, content_length={"type": "integer"})
COMMON: dict[str, Any] = {
    "id": ID,
    "name": text(200, minLength=1),
    "start_time": NUMBER,
    "end_time": NUMBER,
    "in_progress": TRUE,
    "error": TRUE,
    "throttle": TRUE,
    "fault": TRUE,
    "cause": CAUSE,
    "annotations": ANNOTATIONS,
    "metadata": METADATA,
    "subsegments": listed({"$ref": "#/$defs/subsegment"}),
}
ENDED_OR_NOT = [
    {"required": ["end_time"], "not": {"required": ["in_progress"]}},
    {"required": ["in_progress"], "not": {"required": ["end_time"]}},
]
SEGMENT = {
    **some(
        **COMMON,
        trace_id=TRACE_ID,
        parent_id=ID,
        user=text(),
        origin=text(),
        service=some(version=text(), runtime=text(), runtime_version=text()),
        http=some(
            request=some(
                method=text(),
                url=text(),
                user_agent=text(),
                client_ip=text(),
                x_forwarded_for={"type": "boolean"},
            ),
            response={**RESPONSE, "minProperties": 0},
        ),
        aws=some(
            account_id=text(),
            cloudwatch_logs=listed(some(log_group=text(), arn=text())),
            ec2=some(instance_id=text(), instance_size=text(), ami_id=text(), availability_zone=text()),
            ecs=some(container=text(), container_id=text(), container_arn=text()),
            eks=some(pod=text(), cluster_name=text(), container_id=text()),
            elastic_beanstalk=some(environment_name=text(), version_label=text(), deployment_id=COUNT),
            xray=some(auto_instrumentation=TRUE, sdk=text(), sdk_version=text(), sampling_rule_name=text(32)),
        ),
    ),
    "required": ["name", "id", "start_time", "trace_id"],
    "oneOf": ENDED_OR_NOT,
}
SQL = some(
    connection_string=ANY, url=ANY, sanitized_query=ANY, database_type=text(), database_version=text(),
    driver_version=text(), user=text(), preparation={"enum": ["call", "statement"]},
)  # fmt: skip
PIECE = {
    **COMMON,
    "namespace": {"enum": ["aws", "remote"]},
    "http": some(
        request=some(
            method=text(), url=text(), user_agent=text(), client_ip=text(), traced={"type": "boolean"}
        ),
        response=RESPONSE,
    ),
    "sql": SQL,
    "aws": {"type": "object", "properties": {"operation": ANY, "region": ANY, "request_id": ANY}},
    "precursor_ids": listed(ID),
}
SUBSEGMENT = {**some(**PIECE), "required": ["name", "id", "start_time"], "oneOf": ENDED_OR_NOT}
INDEPENDENT = {
    **some(**PIECE, trace_id=TRACE_ID, parent_id=ID, type={"const": "subsegment"}),
    "required": ["name", "id", "start_time", "trace_id", "parent_id", "type"],
    "oneOf": ENDED_OR_NOT,
}
DEFINITIONS = {"subsegment": SUBSEGMENT}
VALIDATORS = {
    kind: Draft202012Validator({**schema, "$defs": DEFINITIONS})
    for kind, schema in (("segment", SEGMENT), ("subsegment", INDEPENDENT))
}


def checked(data: bytes) -> dict[str, Any]:
    """The document, if X-Ray would take it; an AssertionError that says why not."""
    assert len(data) <= MOST, f"{len(data)} bytes"
    document = json.loads(data, parse_constant=_refuse)
    kind = document.get("type", "segment")
    wrong = sorted(VALIDATORS[kind].iter_errors(document), key=lambda error: len(list(error.path)))
    assert not wrong, f"{wrong[0].json_path}: {wrong[0].message[:500]}"
    for name in _names(document):
        assert all(_may_be_in_a_name(letter) for letter in name), name
    return document


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def _names(document: dict[str, Any]):
    yield document["name"]
    for inner in document.get("subsegments", ()):
        yield from _names(inner)


def _may_be_in_a_name(letter: str) -> bool:
    return letter in SYMBOLS or unicodedata.category(letter)[0] in "LNZ"
