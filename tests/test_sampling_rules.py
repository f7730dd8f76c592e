"""X-Ray's local rules: what files are good, what is said of bad ones, which rule matches, the reservoir."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.sampling.rules import Rules, RulesError, load

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text())
DEFAULT = {"fixed_target": 1, "rate": 0.05}
RULE = {**VECTORS["rule_match"]["rule"], "fixed_target": 2, "rate": 0.5}


def written(folder: Path, content: object) -> Path:
    path = folder / "rules.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def loaded(folder: Path, *rules: dict[str, Any], version: int = 2) -> Rules:
    return load(str(written(folder, {"version": version, "default": DEFAULT, "rules": list(rules)})))


@pytest.mark.parametrize("case", VECTORS["rule_file"], ids=lambda case: json.dumps(case["file"]))
def test_the_files_that_x_ray_takes_are_taken_and_no_others(case: dict[str, Any], tmp_path: Path) -> None:
    """Versions 1 and 2, each with its own name for the host."""
    path = str(written(tmp_path, case["file"]))
    if case["good"]:
        assert load(path)
    else:
        with pytest.raises(RulesError):
            load(path)


def broken(**changes: object) -> dict[str, Any]:
    return {"version": 2, "default": DEFAULT, "rules": [{**RULE, **changes}]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"version": 3, "default": DEFAULT}, "version: Invalid enum value 3"),
        ({"version": True, "default": DEFAULT}, "version: Expected `int`, got `bool`"),
        ({"default": DEFAULT}, "Object missing required field `version`"),
        ({"version": 2}, "Object missing required field `default`"),
        (
            {"version": 2, "default": {**DEFAULT, "host": "*"}},
            "default: Object contains unknown field `host`",
        ),
        ({"version": 2, "default": {"rate": 1}}, "default: Object missing required field `fixed_target`"),
        (broken(rate=-0.1), "rules[0].rate: Expected `float` >= 0.0"),
        (broken(rate="half"), "rules[0].rate: Expected `float`, got `str`"),
        (broken(fixed_target=1.5), "rules[0].fixed_target: Expected `int`, got `float`"),
        (broken(url_path=None), "rules[0].url_path: Expected `str`, got `null`"),
        ({"version": 2, "default": DEFAULT, "rules": {}}, "rules: Expected `array`, got `object`"),
        (b"", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{,}", "JSON is malformed"),
        (b'{"version": 2, "x": ' + b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe", "JSON is malformed"),
        (
            json.dumps(broken(description="\u00ff")).encode().replace(b"\\u00ff", b"\xff"),
            "'utf-8' codec can't",
        ),
    ],
)
def test_a_bad_file_is_one_sentence(content: object, problem: str, tmp_path: Path) -> None:
    """The file, the field, what is wrong with it."""
    path = written(tmp_path, content)
    with pytest.raises(RulesError) as caught:
        load(str(path))
    assert str(caught.value).startswith(f"sampling rules {path}: {problem}")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    """Missing, or no file at all."""
    with pytest.raises(RulesError, match=r"nowhere\.json: No such file or directory$"):
        load(str(tmp_path / "nowhere.json"))
    with pytest.raises(RulesError, match=r"Is a directory$"):
        load(str(tmp_path))
    with pytest.raises(RulesError, match=r"null byte$"):
        load("rules\0.json")


@given(st.binary() | st.text('{}[]":,0123456789versiondefault ').map(str.encode))
def test_no_file_raises_anything_else(content: bytes) -> None:
    """Whatever is in it, the answer is rules or a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), content)
        with pytest.raises(RulesError):
            load(str(path))


@pytest.mark.parametrize("case", VECTORS["rule_match"]["requests"], ids=json.dumps)
@pytest.mark.parametrize("version", [1, 2])
def test_requests_fall_under_a_rule_as_in_x_ray(case: dict[str, Any], version: int, tmp_path: Path) -> None:
    """Host with its port, method, path; what is missing matches; version 1's service name is the host."""
    rule = dict(RULE)
    if version == 1:
        rule["service_name"] = rule.pop("host")
    rules = loaded(tmp_path, rule, version=version)
    found = rules.find(case["host"], case["method"], case["path"])
    assert found.name == ("1" if case["match"] else "default")


def test_the_first_rule_that_matches_decides(tmp_path: Path) -> None:
    """Rules are named by their description, or counted."""
    narrow = {**RULE, "description": "checkout", "url_path": "/checkout"}
    rules = loaded(tmp_path, narrow, {**RULE, "url_path": "/*"}, {**RULE, "host": ""})
    host = "a.example.com"
    assert rules.find(host, "GET", "/checkout").name == "checkout"
    assert rules.find(host, "GET", "/other").name == "2"
    assert rules.find(None, "GET", "/api/x").name == "2"
    assert rules.find("b.org", "GET", "/other").name == "default"
    assert repr(rules) == "<Rules 3 and the default>"
    assert repr(rules.find(host, "get", "/CHECKOUT")) == "<Rule checkout · 2/s, then 50.000%>"


def test_the_reservoir_is_filled_every_second(tmp_path: Path) -> None:
    """Not saved up, and each rule has its own."""
    rules = loaded(tmp_path, RULE)
    rule, default = rules.rules
    assert [rule.take(7) for _ in range(3)] == [True, True, False]
    assert [default.take(7) for _ in range(2)] == [True, False]
    assert [rule.take(9) for _ in range(3)] == [True, True, False]
    assert [rule.take(8) for _ in range(3)] == [True, True, False]  # a clock set back costs nothing
