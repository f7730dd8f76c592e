"""XRAY_RECORDER, and what code told the recorder: the X-Ray SDK's settings as ours."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from server_tracing.application import xray
from server_tracing.config import beneath, load
from server_tracing.config.sources import Given
from server_tracing.sampling import rules as sampling_rules


def read(**settings):
    """Each entry of XRAY_RECORDER: what it gives and says."""
    return {
        entry.name.partition("'")[2][:-2]: (dict(entry.gives), entry.remark)
        for entry in xray.read(settings, "Django settings")
    }


def effective(tmp_path, environ=None, **settings):
    """The settings with those of the application beneath."""
    loaded = load(environ or {"SERVER_TRACING_EXPORTERS": "local"}, tmp_path)
    layer = {}
    for entry in xray.read(settings, "Django settings"):
        layer |= {key: Given(value, entry.source) for key, value in entry.gives.items()}
    return beneath(loaded, layer)


class TestEveryKeyOfTheSdk:
    """None is passed over in silence."""

    def test_those_that_have_a_name_of_ours_are_taken_over(self, tmp_path):
        """With the SDK's own words for plugins and modules."""
        loaded = effective(
            tmp_path,
            AWS_XRAY_DAEMON_ADDRESS="10.0.0.1:2001",
            AWS_XRAY_CONTEXT_MISSING="IGNORE_ERROR",
            AWS_XRAY_TRACING_NAME="My shop",
            PLUGINS=("EC2Plugin", "ElasticBeanstalkPlugin"),
            DYNAMIC_NAMING="*.example.com",
            STREAMING_THRESHOLD=100,
            PATCH_MODULES=["requests", "boto3"],
            SAMPLING=False,
        )
        config = loaded.config
        assert (config.service, config.dynamic_naming) == ("My shop", "*.example.com")
        assert (config.xray.daemon_address, config.xray.context_missing) == ("10.0.0.1:2001", "IGNORE_ERROR")
        assert config.xray.plugins == ("ec2", "elastic_beanstalk")
        assert (config.xray.streaming_threshold, config.xray.patch) == (100, ("requests", "boto3"))
        assert (config.xray.sampling, config.sampling.rate) == ("ratio", 1.0)
        assert loaded.sources["service"] == "Django settings, XRAY_RECORDER['AWS_XRAY_TRACING_NAME']"
        assert loaded.warnings == []

    @pytest.mark.parametrize("key", ["SAMPLER", "MAX_TRACE_BACK", "AUTO_PATCH_PARENT_SEGMENT_NAME", "TYPO"])
    def test_those_that_have_none_are_ignored_with_a_reason(self, key):
        """So that nobody wonders."""
        gives, remark = read(**{key: 5})[key]
        assert gives == {}
        assert remark.startswith("ignored: ")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("SAMPLING", True),
            ("URLS_AS_ANNOTATION", "LAMBDA"),
            ("AUTO_INSTRUMENT", False),
            ("STREAM_SQL", False),
            ("IGNORE_MODULE_PATTERNS", ["a"]),
        ],
    )
    def test_those_that_are_done_otherwise_say_so(self, key, value):
        """They are no setting of ours."""
        gives, remark = read(**{key: value})[key]
        assert gives == {}
        assert not remark.startswith("ignored")

    @pytest.mark.parametrize("value", [None, (), [], ""])
    def test_what_says_nothing_is_nothing(self, value):
        """As the SDK has it: None is the default."""
        assert read(PLUGINS=value) == {"PLUGINS": ({}, "ignored: it says nothing")}

    def test_rules_may_be_the_rules_themselves(self, tmp_path):
        """As the SDK takes them; they are checked as a file's are."""
        rules = {"version": 2, "default": {"fixed_target": 1, "rate": 0.1}}
        assert '"rate":0.1' in effective(tmp_path, SAMPLING_RULES=rules).config.sampling.rules
        warned = effective(tmp_path, SAMPLING_RULES={"version": 3})
        assert warned.config.sampling.rules is None
        assert "sampling.rules (Django settings, XRAY_RECORDER['SAMPLING_RULES'])" in warned.warnings[0]

    def test_what_is_no_use_is_a_warning_and_no_end(self, tmp_path):
        """The rest counts."""
        loaded = effective(
            tmp_path, PLUGINS=["LambdaPlugin"], STREAMING_THRESHOLD="many", DYNAMIC_NAMING="*.a.b"
        )
        assert loaded.config.dynamic_naming == "*.a.b"
        assert [warning.partition(" is ")[0] for warning in loaded.warnings] == [
            "Django settings, XRAY_RECORDER['PLUGINS']",
            "Django settings, XRAY_RECORDER['STREAMING_THRESHOLD']",
        ]

    def test_objects_are_not_asked(self):
        """They are code of the application's."""
        assert read(DYNAMIC_NAMING=object())["DYNAMIC_NAMING"][1].startswith("ignored: only a pattern")
        assert read(PLUGINS=7)["PLUGINS"] == ({"xray.plugins": 7}, "")
        assert read(PATCH_MODULES=object())["PATCH_MODULES"][1] == "ignored: it is not what the SDK takes"


def test_ours_and_the_ecosystems_go_before(tmp_path):
    """Variables of X-Ray's too; only what nobody says is theirs to say."""
    environ = {"SERVER_TRACING_SERVICE": "ours", "AWS_XRAY_DAEMON_ADDRESS": "10.0.0.9:2000"}
    loaded = effective(
        tmp_path,
        environ,
        AWS_XRAY_TRACING_NAME="theirs",
        AWS_XRAY_DAEMON_ADDRESS="10.0.0.1:1",
        PLUGINS=["ecs"],
    )
    config = loaded.config
    assert (config.service, config.xray.daemon_address) == ("ours", "10.0.0.9:2000")
    assert (config.xray.plugins, loaded.sources["service"]) == (
        ("ecs",),
        "environment SERVER_TRACING_SERVICE",
    )


def test_what_code_told_the_recorder_counts_where_there_is_no_dictionary():
    """Flask's and Bottle's applications have no other way."""
    recorder = SimpleNamespace(
        service="shop",
        dynamic_naming=SimpleNamespace(_pattern="*.example.com"),
        emitter=SimpleNamespace(_ip="10.0.0.1", _port=2001),
        streaming_threshold=30,
        sampling=False,
        _aws_metadata={"xray": {}, "ec2": {"instance_id": "i-1"}},
    )
    found = xray.read(None, "", recorder)
    assert {entry.name: dict(entry.gives) for entry in found} == {
        "service=": {"service": "shop"},
        "dynamic_naming=": {"dynamic_naming": "*.example.com"},
        "daemon_address=": {"xray.daemon_address": "10.0.0.1:2001"},
        "plugins=": {"xray.plugins": ["ec2"]},
        "sampling=": {"xray.sampling": "ratio", "sampling.rate": 1.0},
    }
    assert found[0].source == "xray_recorder.configure, service="


def test_a_recorder_that_was_told_nothing_says_nothing():
    """The SDK's defaults are no settings."""
    recorder = pytest.importorskip("aws_xray_sdk.core").AWSXRayRecorder()
    with recorder.emitter._socket:
        assert xray.read(None, "", recorder) == []


RULES = {
    "version": 1,
    "default": {"fixed_target": 2, "rate": 0.1},
    "rules": [{"service_name": "a.*", "http_method": "*", "url_path": "/b", "fixed_target": 0, "rate": 1}],
}


@pytest.mark.parametrize("alone", [False, True])
def test_rules_that_code_told_the_recorder_are_the_rules(tmp_path, alone):
    """Beneath those of the console, or alone where code has set a local sampler."""
    core = pytest.importorskip("aws_xray_sdk.core")
    from aws_xray_sdk.core.sampling.local.sampler import LocalSampler

    recorder = core.AWSXRayRecorder()
    recorder.configure(**({"sampler": LocalSampler(RULES)} if alone else {"sampling_rules": RULES}))
    with recorder.emitter._socket:
        (found,) = xray.read(None, "", recorder)
    loaded = load({"SERVER_TRACING_EXPORTERS": "xray"}, tmp_path)
    given = {key: Given(value, found.source) for key, value in found.gives.items()}
    config = beneath(loaded, given).config
    assert config.xray.sampling == ("ratio" if alone else "xray")
    rules = sampling_rules.load(config.sampling.rules)
    assert [(rule.fixed_target, rule.rate) for rule in rules.rules] == [(0, 1), (2, 0.1)]
    assert rules.find("a.example", "GET", "/b").rate == 1


def test_a_sampler_of_the_applications_own_is_said_to_be_ignored():
    """The decision is the server's."""
    recorder = pytest.importorskip("aws_xray_sdk.core").AWSXRayRecorder()
    recorder.configure(sampler=object())
    with recorder.emitter._socket:
        (found,) = xray.read(None, "", recorder)
    assert found.fate == "ignored: the server decides, see xray.sampling"
