"""Every setting from every source, and one clear sentence for each way to get it wrong."""

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_tracing.config import (
    Azure,
    Config,
    ConfigError,
    JsonLines,
    Rate,
    XRay,
    describe,
    destinations,
    load,
)
from server_tracing.config.connection_string import Connection, parse
from server_tracing.config.settings import KEYS, SETTINGS, default, value_of
from server_tracing.config.sources import DOOR_VARIABLES, variable

GUIDS = [f"0000000{number}-0000-0000-0000-00000000000{number}" for number in range(10)]
RULES = '{"version": 2, "default": {"fixed_target": 1, "rate": 0.1}, "rules": []}'


def connection(number=1, more=""):
    return f"InstrumentationKey={GUIDS[number]}{more}"


@pytest.fixture
def read(tmp_path):
    """Loads from variables, a server_tracing.toml and arguments, in a directory of its own."""

    def read(environ=None, toml=None, arguments=None, name="server_tracing.toml"):
        if toml is not None:
            (tmp_path / name).write_text(toml, "utf-8")
        place = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
        return load(place | (environ or {}), tmp_path, arguments)

    return read


@pytest.fixture
def refused(read):
    """The sentence a wrong setting is refused with."""

    def refused(*args, **kwargs):
        with pytest.raises(ConfigError) as caught:
            read(*args, **kwargs)
        sentence = str(caught.value)
        assert "\n" not in sentence
        return sentence

    return refused


# ---------------------------------------------------------------- the table


def fields(struct, prefix=""):
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, msgspec.Struct) and not isinstance(value, Rate):
            yield from fields(value, f"{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_table_has_every_field_once():
    """No setting without a reader, no reader without a setting."""
    assert sorted(setting.key for setting in SETTINGS) == sorted(fields(Config()))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_default_is_acceptable_and_can_be_shown(setting, read):
    """What `config` prints for a default can be typed in again, or is a remark in words."""
    shown = {key: value for key, value, _ in describe(read())}[setting.key]
    assert shown
    wanted = default(setting.key)
    if wanted in (None, "") or setting.key == "state_dir":
        return
    loaded = read({variable(setting.key): shown})
    assert value_of(loaded.config, setting.key) == wanted
    assert loaded.sources[setting.key] == f"environment {variable(setting.key)}"


def test_defaults_are_those_of_the_documentation(read):
    """Nothing set, nothing surprising."""
    config, sources, warnings = read()
    assert config.enabled
    assert config.exporters == ("local",)
    assert config.propagation == ("xray", "w3c", "b3")
    assert config.trust_context == "always"
    assert config.sampling.rate == 1.0
    assert config.sampling.keep_errors == Rate(10, 1)
    assert config.sampling.keep_slower_than == 1.0
    assert config.capture.query == "redact"
    assert config.journal.size == 8 << 20
    assert config.local.max_size == 256 << 20
    assert config.local.retention == 86400
    assert set(sources.values()) == {"default"}
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "written", "key", "meant"),
    [
        ("SERVER_TRACING_SERVICE", " My shop ", "service", "My shop"),
        ("SERVER_TRACING_SERVICE", "new\nline", "service", "newline"),
        ("SERVER_TRACING_DYNAMIC_NAMING", "*.example.com", "dynamic_naming", "*.example.com"),
        ("SERVER_TRACING_DYNAMIC_NAMING", "off", "dynamic_naming", None),
        ("SERVER_TRACING_EXPORTERS", "local, Console ,local", "exporters", ("local", "console")),
        ("SERVER_TRACING_EXPORTERS", "shop.export:Mine", "exporters", ("shop.export:Mine",)),
        ("SERVER_TRACING_EXCLUDE", "/health,GET /static/*", "exclude", ("/health", "GET /static/*")),
        ("SERVER_TRACING_EXCLUDE", "none", "exclude", ()),
        ("SERVER_TRACING_RESPONSE_HEADER", "on", "response_header", True),
        ("SERVER_TRACING_PROPAGATION", "w3c,google", "propagation", ("w3c", "google")),
        ("SERVER_TRACING_PROPAGATION", "none", "propagation", ()),
        ("SERVER_TRACING_TRUST_CONTEXT", "Proxies", "trust_context", "proxies"),
        ("SERVER_TRACING_SAMPLING_RATE", "5%", "sampling.rate", 0.05),
        ("SERVER_TRACING_SAMPLING_KEEP_ERRORS", "100/m", "sampling.keep_errors", Rate(100, 60)),
        ("SERVER_TRACING_SAMPLING_KEEP_ERRORS", "true", "sampling.keep_errors", True),
        ("SERVER_TRACING_SAMPLING_KEEP_ERRORS", "no", "sampling.keep_errors", False),
        ("SERVER_TRACING_SAMPLING_KEEP_SLOWER_THAN", "250ms", "sampling.keep_slower_than", 0.25),
        ("SERVER_TRACING_SAMPLING_KEEP_SLOWER_THAN", "off", "sampling.keep_slower_than", None),
        ("SERVER_TRACING_CAPTURE_QUERY", "drop", "capture.query", "drop"),
        ("SERVER_TRACING_CAPTURE_REDACT", "a*,b", "capture.redact", ("a*", "b")),
        ("SERVER_TRACING_CAPTURE_HEADERS", "X-A, accept", "capture.headers", ("x-a", "accept")),
        ("SERVER_TRACING_CAPTURE_STUCK_AFTER", "10", "capture.stuck_after", 10),
        ("SERVER_TRACING_CAPTURE_STUCK_AFTER", "never", "capture.stuck_after", 0),
        (
            "SERVER_TRACING_CAPTURE_TRUSTED_PROXIES",
            "10.0.0.0/8,::1",
            "capture.trusted_proxies",
            ("10.0.0.0/8", "::1"),
        ),
        ("SERVER_TRACING_CAPTURE_TRUSTED_PROXIES", "none", "capture.trusted_proxies", ()),
        ("SERVER_TRACING_CAPTURE_CPU", "1", "capture.cpu", True),
        ("SERVER_TRACING_JOURNAL_SIZE", "64MiB", "journal.size", 64 << 20),
        ("SERVER_TRACING_JOURNAL_DIR", "/var/tmp/j", "journal.dir", "/var/tmp/j"),
        ("SERVER_TRACING_LOCAL_MAX_SIZE", "1g", "local.max_size", 1 << 30),
        ("SERVER_TRACING_JSONL_PATH", "/var/log/r.jsonl", "jsonl.path", "/var/log/r.jsonl"),
        ("SERVER_TRACING_JSONL_PATH", "-", "jsonl.path", "-"),
        ("SERVER_TRACING_JSONL_MAX_SIZE", "1MiB", "jsonl.max_size", 1 << 20),
        ("SERVER_TRACING_LOCAL_RETENTION", "2d", "local.retention", 172800),
        ("SERVER_TRACING_LOCAL_SAMPLED_ONLY", "yes", "local.sampled_only", True),
        ("SERVER_TRACING_DIR", "/srv/state", "state_dir", "/srv/state"),
        ("SERVER_TRACING_AZURE_METRICS_INTERVAL", "off", "azure.metrics_interval", 0),
        ("SERVER_TRACING_AZURE_METRICS_INTERVAL", "15s", "azure.metrics_interval", 15),
        ("SERVER_TRACING_AZURE_PROCESSORS", "a.b:c, d:e.f", "azure.processors", ("a.b:c", "d:e.f")),
        (
            "SERVER_TRACING_AZURE_CREDENTIAL",
            "DefaultAzureCredential",
            "azure.credential",
            "DefaultAzureCredential",
        ),
        ("SERVER_TRACING_AZURE_STORAGE_RETENTION", "12h", "azure.storage_retention", 43200),
        ("SERVER_TRACING_AZURE_SUCCESS_4XX", "yes", "azure.success_4xx", True),
        ("SERVER_TRACING_XRAY_TRANSPORT", "API", "xray.transport", "api"),
        ("SERVER_TRACING_XRAY_DAEMON_ADDRESS", " [::1]:2000 ", "xray.daemon_address", "[::1]:2000"),
        ("AWS_XRAY_DAEMON_ADDRESS", "tcp:a:1  udp:b:2", "xray.daemon_address", "tcp:a:1 udp:b:2"),
        ("SERVER_TRACING_XRAY_REGION", "EU-West-1", "xray.region", "eu-west-1"),
        ("SERVER_TRACING_XRAY_ENDPOINT", "http://[::1]:5000/", "xray.endpoint", "http://[::1]:5000"),
        ("SERVER_TRACING_XRAY_PLUGINS", "EC2Plugin, eks", "xray.plugins", ("ec2", "eks")),
        ("SERVER_TRACING_XRAY_PLUGINS", "ElasticBeanstalkPlugin", "xray.plugins", ("elastic_beanstalk",)),
        ("SERVER_TRACING_XRAY_STREAMING_THRESHOLD", "0", "xray.streaming_threshold", 0),
        ("SERVER_TRACING_XRAY_VERSION", "1.2+3", "xray.version", "1.2+3"),
        ("SERVER_TRACING_XRAY_SAMPLING", "ratio", "xray.sampling", "ratio"),
        ("AWS_XRAY_CONTEXT_MISSING", "RUNTIME_ERROR", "xray.context_missing", "RUNTIME_ERROR"),
    ],
)
def test_variables_are_named_like_keys_and_take_what_people_write(read, name, written, key, meant):
    """One variable per setting."""
    config, sources, _ = read({name: written})
    assert value_of(config, key) == meant
    assert sources[key] == f"environment {name}"


def test_a_file_takes_toml_types(read):
    """Numbers, booleans and arrays as well as text."""
    config, sources, _ = read(
        toml="""
        enabled = true
        exporters = ["local", "jsonl"]
        exclude = ["/a, b"]
        [sampling]
        rate = 0.25
        keep_errors = false
        keep_slower_than = 2
        [journal]
        size = 1048576
        [xray]
        daemon_address = "127.0.0.1:3000"
        plugins = ["ecs"]
        """
    )
    assert config.exporters == ("local", "jsonl")
    assert config.exclude == ("/a, b",)
    assert (config.sampling.rate, config.sampling.keep_errors, config.sampling.keep_slower_than) == (
        0.25,
        False,
        2,
    )
    assert config.journal.size == 1 << 20
    assert (config.xray.daemon_address, config.xray.plugins) == ("127.0.0.1:3000", ("ecs",))
    assert sources["sampling.rate"] == sources["xray.daemon_address"] == "file ./server_tracing.toml"


# ---------------------------------------------------------------- precedence


@pytest.mark.parametrize(
    ("without", "service", "source"),
    [
        (0, "xray", "environment AWS_XRAY_TRACING_NAME"),
        (1, "argument", "argument service"),
        (2, "ours", "environment SERVER_TRACING_SERVICE"),
        (3, "otel", "environment OTEL_SERVICE_NAME"),
        (4, "from resource", "environment OTEL_RESOURCE_ATTRIBUTES"),
        (5, "file", "file ./server_tracing.toml"),
        (6, "", "default"),
    ],
)
def test_the_strongest_source_wins(read, without, service, source):
    """X-Ray's variables, arguments, ours, the ecosystem's, the file, the default."""
    layers = [
        {"environ": {"AWS_XRAY_TRACING_NAME": "xray"}},
        {"arguments": {"service": "argument"}},
        {"environ": {"SERVER_TRACING_SERVICE": "ours"}},
        {"environ": {"OTEL_SERVICE_NAME": "otel"}},
        {"environ": {"OTEL_RESOURCE_ATTRIBUTES": "a=b,service.name=from%20resource"}},
        {"toml": 'service = "file"'},
    ][without:]
    environ = {name: text for layer in layers for name, text in layer.get("environ", {}).items()}
    toml = next((layer["toml"] for layer in layers if "toml" in layer), None)
    arguments = next((layer["arguments"] for layer in layers if "arguments" in layer), None)
    config, sources, warnings = read(environ, toml, arguments)
    assert (config.service, sources["service"], warnings) == (service, source, [])


def test_only_what_wins_must_be_right(read):
    """A wrong value that another source overrides hurts nobody."""
    assert read({"SERVER_TRACING_SAMPLING_RATE": "0.5"}, "[sampling]\nrate = 7").config.sampling.rate == 0.5


def test_empty_variables_are_absent(read):
    """A compose file passes on what is not set as empty."""
    loaded = read(
        dict.fromkeys(map(variable, KEYS), "") | {"SERVER_TRACING_TYPO": "", "OTEL_SERVICE_NAME": " "}
    )
    assert set(loaded.sources.values()) == {"default"}


def test_arguments_may_be_written_in_three_ways(read):
    """As tables, flat, or dotted; None is absent."""
    for arguments in (
        {"sampling": {"rate": 0.5}, "azure": {"timeout": 1}},
        {"sampling_rate": 0.5, "azure_timeout": 1, "service": None},
        {"sampling.rate": 0.5, "azure.timeout": 1},
    ):
        config = read(arguments=arguments).config
        assert config.sampling.rate == 0.5
        assert config.azure.timeout == 1


def test_x_ray_variables_beat_even_arguments(read):
    """As users of X-Ray know it."""
    environ = {"AWS_XRAY_DAEMON_ADDRESS": "10.0.0.1:2000", "AWS_XRAY_CONTEXT_MISSING": "IGNORE_ERROR"}
    xray = read(environ, arguments={"xray": {"daemon_address": "x", "context_missing": "y"}}).config.xray
    assert (xray.daemon_address, xray.context_missing) == ("10.0.0.1:2000", "IGNORE_ERROR")


def test_our_variables_for_a_backend_beat_the_ecosystems(read):
    """SERVER_TRACING_AZURE_* over APPLICATIONINSIGHTS_*, over the file."""
    environ = {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": connection(1),
        "APPINSIGHTS_INSTRUMENTATIONKEY": GUIDS[2],
        "SERVER_TRACING_AZURE_CONNECTION_STRING": connection(3),
    }
    toml = f'[azure]\nconnection_string = "{connection(4)}"\ninstrumentation_key = "{GUIDS[5]}"'
    azure = read(environ, toml).config.azure
    assert (azure.connection_string, azure.instrumentation_key) == (connection(3), "")


# ---------------------------------------------------------------- the switch


@pytest.mark.parametrize("written", ["0", "false", "No", "off"])
def test_the_switch_beats_everything(read, written):
    """Arguments and file included, and whatever is wrong with the rest."""
    environ = {"SERVER_TRACING_ENABLED": written}
    config, sources, _ = read(environ, "enabled = true", {"enabled": True})
    assert not config.enabled
    assert sources["enabled"] == "environment SERVER_TRACING_ENABLED"
    config, _, warnings = read({**environ, "SERVER_TRACING_TYPO": "1"})
    assert not config.enabled
    assert config.state_dir
    assert len(warnings) == 1


def test_an_unclear_switch_stops_the_start(refused):
    """Nobody is traced by a typo."""
    sentence = refused({"SERVER_TRACING_ENABLED": "maybe"}, arguments={"enabled": True})
    assert sentence == "enabled (environment SERVER_TRACING_ENABLED) is 'maybe'; accepted: true or false."


@pytest.mark.parametrize(("written", "enabled"), [("false", False), ("N", False), ("1", True), ("", True)])
def test_the_x_ray_switch_concerns_x_ray_only(read, written, enabled):
    """AWS_XRAY_SDK_ENABLED leaves the rest on."""
    config, _, warnings = read({"AWS_XRAY_SDK_ENABLED": written})
    assert config.enabled
    assert config.xray.enabled is enabled
    assert warnings == []


def test_x_ray_switched_off_is_no_exporter(read):
    """And where there was no other, nothing is recorded at all."""
    off = {"AWS_XRAY_SDK_ENABLED": "false"}
    assert read(off | {"SERVER_TRACING_EXPORTERS": "xray,local"}).config.exporters == ("local",)
    config, sources, _ = read(off | {"SERVER_TRACING_EXPORTERS": "xray"})
    assert not config.enabled
    assert sources["enabled"] == "environment AWS_XRAY_SDK_ENABLED"


# ---------------------------------------------------------------- wrong settings


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("SERVICE", "x" * 201),
        ("SERVICE", "\x01\x02"),
        ("DYNAMIC_NAMING", "exa mple"),
        ("EXPORTERS", "stdout"),
        ("EXPORTERS", "none"),
        ("EXPORTERS", "shop.export:"),
        ("RESPONSE_HEADER", "2"),
        ("PROPAGATION", "jaeger"),
        ("TRUST_CONTEXT", "sometimes"),
        ("SAMPLING_RATE", "1.5"),
        ("SAMPLING_RATE", "nan"),
        ("SAMPLING_RULES", "missing.json"),
        ("SAMPLING_KEEP_ERRORS", "10"),
        ("SAMPLING_KEEP_ERRORS", "10/0s"),
        ("SAMPLING_KEEP_SLOWER_THAN", "0"),
        ("SAMPLING_KEEP_SLOWER_THAN", "1 fortnight"),
        ("CAPTURE_QUERY", "hide"),
        ("CAPTURE_HEADERS", "x a"),
        ("CAPTURE_HEADERS", "x-*"),
        ("CAPTURE_STUCK_AFTER", "-1s"),
        ("CAPTURE_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("CAPTURE_TRUSTED_PROXIES", "proxy.example.com"),
        ("CAPTURE_CPU", "little"),
        ("JOURNAL_SIZE", "255KiB"),
        ("JOURNAL_SIZE", "2GiB"),
        ("JOURNAL_SIZE", "8 megs"),
        ("LOCAL_MAX_SIZE", "0"),
        ("LOCAL_RETENTION", "0s"),
        ("LOCAL_RETENTION", "99999d"),
        ("AZURE_METRICS_INTERVAL", "100ms"),
        ("AZURE_METRICS_INTERVAL", "2h"),
        ("AZURE_STORAGE_RETENTION", "3d"),
        ("AZURE_TIMEOUT", "0"),
        ("AZURE_CREDENTIAL", "not a name"),
        ("AZURE_PROCESSORS", "telemetry.scrub"),
        ("AZURE_INSTRUMENTATION_KEY", "key"),
        ("XRAY_TRANSPORT", "tcp"),
        ("XRAY_DAEMON_ADDRESS", "127.0.0.1"),
        ("XRAY_DAEMON_ADDRESS", "::1:2000"),
        ("XRAY_REGION", "Ireland"),
        ("XRAY_ENDPOINT", "xray.eu-west-1.amazonaws.com"),
        ("XRAY_PLUGINS", "lambda"),
        ("XRAY_STREAMING_THRESHOLD", "1.5"),
        ("XRAY_SAMPLING", "central"),
        ("XRAY_CONTEXT_MISSING", "PANIC"),
        ("SERVICE", "caf\udce9"),
    ],
)
def test_a_wrong_value_is_refused_with_key_source_value_and_what_is_accepted(refused, name, written):
    """One sentence that says it all."""
    sentence = refused({f"SERVER_TRACING_{name}": written})
    key = next(key for key in KEYS if variable(key) == f"SERVER_TRACING_{name}")
    assert sentence.startswith(f"{key} (environment SERVER_TRACING_{name}) is ")
    assert "; accepted: " in sentence
    assert "could not convert" not in sentence
    assert len(sentence) < 400
    assert sentence.isprintable()


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("service = 5", "service (file ./server_tracing.toml) is 5; accepted"),
        ("service = ['a']", "service (file ./server_tracing.toml) is ['a']"),
        ("exporters = [1]", "exporters (file ./server_tracing.toml) is [1]"),
        ('state_dir = "a\\u0000b"', "state_dir"),
        ("[sampling.rate]\nx = 1", "sampling.rate (file ./server_tracing.toml) is {'x': 1}"),
        ("sampling = 1", "sampling in file ./server_tracing.toml is 1; it is a table: [sampling]"),
        ("[service]\nname = 'x'", "service.name in file ./server_tracing.toml is not a setting"),
        ("azure = 1", "azure in file ./server_tracing.toml is 1; it is a table: [azure]"),
        ("[sampling]\nrate = 1\nrate = 2", "./server_tracing.toml is not valid TOML:"),
        ("enabled = true\nservice = = 1", "(at line 2, column 11)"),
        ("a = " + "[" * 5000, "./server_tracing.toml is not valid TOML:"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(refused, toml, words):
    """Wrong types, tables for values, values for tables, broken TOML."""
    assert words in refused(toml=toml)


@pytest.mark.parametrize(
    ("toml", "nearest"),
    [
        ("[sampling]\nrat = 1", "sampling.rate"),
        ("[samplng]\nrate = 1", "sampling.rate"),
        ("rate = 1", "sampling.rate"),
        ("state-dir = 'x'", "state_dir"),
        ("sampling_rate = 1", "sampling.rate"),
        ("[local]\nmaxsize = 1", "local.max_size"),
        ('"\\u001bservice" = 1', "service"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(refused, toml, nearest):
    """Typos, forgotten tables, other spellings."""
    assert refused(toml=toml).endswith(f"is not a setting; the nearest is {nearest}.")


def test_a_key_near_to_nothing_gets_no_hint(refused):
    """No hint is better than a silly one."""
    assert refused(toml="zzzzqqq = 1") == "zzzzqqq in file ./server_tracing.toml is not a setting."


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("SERVER_TRACING_SAMPLNG_RATE", "SERVER_TRACING_SAMPLING_RATE"),
        ("SERVER_TRACING_STATE_DIR", "SERVER_TRACING_DIR"),
        ("SERVER_TRACING_RATE", "SERVER_TRACING_SAMPLING_RATE"),
        ("SERVER_TRACING_EXPORTER", "SERVER_TRACING_EXPORTERS"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest(refused, name, nearest):
    """The same for variables; its value is nobody's business."""
    assert refused({name: "s3cr3t"}) == f"{name} is not a setting; the nearest is {nearest}."


def test_an_unknown_argument_is_refused_with_the_nearest(refused):
    """The same for arguments."""
    sentence = refused(arguments={"samplingrate": 1})
    assert sentence == "the argument samplingrate is not a setting; the nearest is sampling.rate."


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in DOOR_VARIABLES if name != "SERVER_TRACING_CONFIG"),
        "SERVER_TRACING_SERVICE_HOST",
        "SERVER_TRACING_SERVICE_PORT",
        "SERVER_TRACING_SERVICE_PORT_HTTP",
        "SERVER_TRACING_PORT",
        "SERVER_TRACING_PORT_80_TCP_ADDR",
    ],
)
def test_variables_of_the_doors_and_of_kubernetes_are_no_typos(read, name):
    """A Kubernetes service called server-tracing puts variables into every container beside it."""
    assert set(read({name: "tcp://10.0.0.1:80"}).sources.values()) == {"default"}


@pytest.mark.parametrize(
    "value", ["InstrumentationKey=s3cr3t;IngestionEndpoint=https://x/", "https://u:s3cr3t@x/", "token=s3cr3t"]
)
def test_secrets_in_the_wrong_place_are_not_repeated(refused, value):
    """A connection string pasted into another setting must not end up in a log."""
    assert "s3cr3t" not in refused({"SERVER_TRACING_EXPORTERS": value, "SERVER_TRACING_SERVICE": value})


@pytest.mark.parametrize("value", ["http://u:s3cr3t/x@h:1", '{"https": "http://u:s3cr3t/x@h:1"}'])
def test_the_password_of_a_proxy_is_not_repeated_however_it_is_misspelt(refused, value):
    """A slash in it has to be written as %2F, and who forgets that does not read it in a log."""
    sentence = refused({"SERVER_TRACING_AZURE_PROXIES": value})
    assert "it is not the address of an http proxy" in sentence
    assert "s3cr3t" not in sentence


def test_a_directory_whose_name_is_not_utf_8_is_refused(refused):
    """Journals say whose they are, in UTF-8."""
    sentence = refused({"SERVER_TRACING_DIR": "/tmp/caf\udce9"})
    assert sentence.startswith("state_dir (environment SERVER_TRACING_DIR) is '/tmp/caf\\udce9': not UTF-8;")


def test_long_and_unprintable_values_are_shown_in_bounds(refused):
    """The sentence stays one sentence, on any terminal."""
    sentence = refused({"SERVER_TRACING_CAPTURE_QUERY": "\x1b[31m\udcff" + "x" * 10_000})
    assert sentence.isprintable()
    assert len(sentence) < 250


# ---------------------------------------------------------------- foreign variables


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_XRAY_CONTEXT_MISSING": "PANIC"},
        {"AWS_XRAY_SDK_ENABLED": "perhaps"},
        {"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1"},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name"},
        {"OTEL_SERVICE_NAME": "x" * 300},
        {"AWS_XRAY_TRACING_NAME": "\x01"},
        {"OTEL_SERVICE_NAME": "caf\udce9"},
    ],
)
def test_a_foreign_variable_we_cannot_use_is_one_warning(read, environ):
    """It is not ours to stop the start for."""
    config, _, warnings = read(environ)
    assert len(warnings) == 1
    assert next(iter(environ)) in warnings[0]
    assert config.service == ""


def test_an_unusable_strong_name_leaves_the_next_one(read):
    """The warning does not cost the name that works."""
    assert read({"AWS_XRAY_TRACING_NAME": "\x01", "OTEL_SERVICE_NAME": "shop"}).config.service == "shop"


def test_cookies_on_the_allow_list_are_a_warning(read):
    """They are never recorded, and somebody should know."""
    _, _, warnings = read({"SERVER_TRACING_CAPTURE_HEADERS": "cookie,x-a"})
    assert warnings == ["capture.headers names cookie, which is never recorded."]


# ---------------------------------------------------------------- which file


def test_pyproject_counts_when_there_is_no_file_of_ours(read, tmp_path):
    """[tool.server_tracing], and only there."""
    loaded = read(toml='[tool.server_tracing]\nservice = "shop"', name="pyproject.toml")
    assert loaded.config.service == "shop"
    assert loaded.sources["service"] == "file ./pyproject.toml"
    assert read(toml='service = "mine"').config.service == "mine"


@pytest.mark.parametrize(
    "toml", ["not toml at all", "[tool.ruff]\nx = 1", 'dependencies = ["server-tracing"]']
)
def test_a_pyproject_that_does_not_speak_of_us_is_no_concern_of_ours(read, toml):
    """Not even when it is broken."""
    assert read(toml=toml, name="pyproject.toml").warnings == []


def test_a_hyphen_in_the_tables_name_is_pointed_out(refused):
    """Settings that are silently ignored are worse than a stop."""
    sentence = refused(toml="[tool.server-tracing]\nx = 1", name="pyproject.toml")
    assert "[tool.server_tracing]" in sentence


def test_a_value_in_the_tables_place_is_refused(refused):
    """tool.server_tracing is a table."""
    assert "it is a table" in refused(toml="[tool]\nserver_tracing = 1", name="pyproject.toml")


def test_files_are_not_searched_upwards(read, tmp_path):
    """The directory above belongs to somebody else's project."""
    (tmp_path / "server_tracing.toml").write_text('service = "above"')
    (tmp_path / "below").mkdir()
    assert load({"HOME": "/"}, tmp_path / "below").config.service == ""


def test_a_named_file_is_the_one_that_counts(read, tmp_path):
    """SERVER_TRACING_CONFIG, relative to the working directory, `~` allowed; paths in it start beside it."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "rules.json").write_text(RULES)
    (tmp_path / "etc" / "mine.toml").write_text('state_dir = "state"\n[sampling]\nrules = "rules.json"')
    for name in ("etc/mine.toml", "~/etc/mine.toml", str(tmp_path / "etc/mine.toml")):
        config, sources, _ = read({"SERVER_TRACING_CONFIG": name}, 'service = "not this"')
        assert config.service == ""
        assert config.sampling.rules == str(tmp_path / "etc" / "rules.json")
        assert config.state_dir == str(tmp_path / "etc" / "state")
        assert sources["sampling.rules"] == f"file {name}"


@pytest.mark.parametrize(
    ("rules", "words"),
    [("", "Input data was truncated"), ("{}", "version"), (RULES.replace("0.1", "-1"), "default.rate")],
)
def test_sampling_rules_the_sampler_would_refuse_stop_the_start(refused, tmp_path, rules, words):
    """Before any worker has to find out."""
    (tmp_path / "rules.json").write_text(rules)
    sentence = refused({"SERVER_TRACING_SAMPLING_RULES": "rules.json"})
    assert sentence.startswith("sampling.rules (environment SERVER_TRACING_SAMPLING_RULES) is 'rules.json'")
    assert words in sentence


def test_a_named_pyproject_is_read_as_one(read, tmp_path):
    """And must have our table."""
    (tmp_path / "pyproject.toml").write_text('[tool.server_tracing]\nservice = "shop"')
    assert read({"SERVER_TRACING_CONFIG": "pyproject.toml"}).config.service == "shop"
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]")
    with pytest.raises(ConfigError, match=r"no table \[tool.server_tracing\]"):
        read({"SERVER_TRACING_CONFIG": "pyproject.toml"})


@pytest.mark.parametrize("name", ["missing.toml", "directory", "fifo", "a\0b", "huge.toml", "latin.toml"])
def test_a_named_file_that_cannot_be_read_stops_the_start(refused, tmp_path, name):
    """Somebody meant it to count."""
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "huge.toml").write_bytes(b"#" * (1 << 21))
    (tmp_path / "latin.toml").write_bytes(b'\nservice = "caf\xe9"')
    sentence = refused({"SERVER_TRACING_CONFIG": name})
    assert repr(name)[1:-1] in sentence


def test_a_file_that_is_a_directory_is_a_warning(read, tmp_path):
    """What lies there unnamed stops nobody."""
    (tmp_path / "server_tracing.toml").mkdir()
    assert read().warnings == ["./server_tracing.toml is not read: it is not a regular file."]


def test_another_users_file_is_not_read(read, refused, tmp_path, monkeypatch):
    """Ours and root's only: a named one stops the start, one that lies there is a warning."""
    path = tmp_path / "server_tracing.toml"
    path.write_text('service = "evil"')
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
        owner = "user 12345"
    else:
        monkeypatch.setattr("server_tracing.config.file.os.geteuid", lambda: 54321)
        owner = "not to user 54321"
    config, _, warnings = read()
    assert config.service == ""
    assert len(warnings) == 1
    assert owner in warnings[0]
    assert owner in refused({"SERVER_TRACING_CONFIG": "server_tracing.toml"})


def test_a_byte_order_mark_is_no_key(read, tmp_path):
    """Some editors write one."""
    (tmp_path / "server_tracing.toml").write_bytes(b'\xef\xbb\xbfservice = "shop"')
    assert read().config.service == "shop"


def test_a_deleted_working_directory_is_no_error(tmp_path, monkeypatch):
    """There is simply no file in it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load({"HOME": str(tmp_path)}).config.enabled


# ---------------------------------------------------------------- Application Insights


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        (connection(), "https://dc.services.visualstudio.com"),
        (connection(more=";"), "https://dc.services.visualstudio.com"),
        (f"instrumentationkey={GUIDS[1]};INGESTIONENDPOINT=https://e.com/", "https://e.com"),
        (
            connection(more=";EndpointSuffix=ai.contoso.com;Location=westus"),
            "https://westus.dc.ai.contoso.com",
        ),
        (connection(more=";EndpointSuffix=applicationinsights.us"), "https://dc.applicationinsights.us"),
        (
            connection(more=";EndpointSuffix=applicationinsights.azure.cn"),
            "https://dc.applicationinsights.azure.cn",
        ),
        (connection(more=";Location=westus"), "https://dc.services.visualstudio.com"),
        (
            connection(
                more=" ; IngestionEndpoint = https://westeurope-5.in.ai.azure.com/ ;LiveEndpoint=https://l/;"
            ),
            "https://westeurope-5.in.ai.azure.com",
        ),
        (
            connection(more=";IngestionEndpoint=https://proxy.example/a=b/?x=1"),
            "https://proxy.example/a=b/?x=1",
        ),
        (connection(more=";Authorization=ikey;ApplicationId=x"), "https://dc.services.visualstudio.com"),
        (connection(more=";IngestionEndpoint=http://127.0.0.1:8080"), "http://127.0.0.1:8080"),
        (connection(more=";IngestionEndpoint=HTTPS://[::1]:8443/"), "https://[::1]:8443"),
    ],
)
def test_connection_strings_are_read_by_their_whole_grammar(text, endpoint):
    """As the portal, the documentation and the clouds of governments have them."""
    assert parse(text) == Connection(GUIDS[1], endpoint)


def test_a_key_may_be_written_in_capitals():
    """GUIDs are."""
    assert parse(f"InstrumentationKey={'ABCDEF01-' + GUIDS[1][9:].upper()}").key == "abcdef01-" + GUIDS[1][9:]


def test_the_audience_of_tokens_stands_there_too():
    """For clouds that are not the public one."""
    audience = "https://monitor.azure.us/"
    assert parse(connection(more=f";AADAudience={audience}")).audience == audience.rstrip("/")


def test_a_foreign_string_we_cannot_use_is_a_warning_with_the_reason(read, refused):
    """One of ours stops the start, whether it is used or not."""
    loaded = read({"APPLICATIONINSIGHTS_CONNECTION_STRING": "s3cr3t"})
    assert loaded.config.azure.connection_string == ""
    (warning,) = loaded.warnings
    assert "is *** (it has a part that is not Key=Value) and is ignored" in warning
    assert "azure.connection_string" in refused({"SERVER_TRACING_AZURE_CONNECTION_STRING": "s3cr3t"})


@pytest.mark.parametrize(
    ("environ", "toml", "key"),
    [
        (
            {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": connection(1),
                "APPINSIGHTS_INSTRUMENTATIONKEY": GUIDS[2],
            },
            "",
            1,
        ),
        ({"APPINSIGHTS_INSTRUMENTATIONKEY": GUIDS[2]}, f"[azure]\nconnection_string = '{connection(1)}'", 2),
        ({"APPINSIGHTS_INSTRUMENTATIONKEY": GUIDS[2]}, "", 2),
        (
            {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": connection(1),
                "SERVER_TRACING_AZURE_INSTRUMENTATION_KEY": GUIDS[3],
            },
            "",
            3,
        ),
        (
            {"APPLICATIONINSIGHTS_CONNECTION_STRING": connection(1)},
            f"[azure]\ninstrumentation_key = '{GUIDS[4]}'",
            1,
        ),
    ],
)
def test_the_key_with_the_most_authority_counts(read, environ, toml, key):
    """Beside a connection string of the same authority, one given alone says nothing."""
    azure = read(environ, toml).config.azure
    assert (azure.instrumentation_key or parse(azure.connection_string).key) == GUIDS[key]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://proxy:3128", {"http": "http://proxy:3128", "https": "http://proxy:3128"}),
        ("proxy:3128", {"http": "http://proxy:3128", "https": "http://proxy:3128"}),
        ('{"https": "http://u:p@proxy:3128"}', {"https": "http://u:p@proxy:3128"}),
        ({"https": "http://proxy"}, {"https": "http://proxy"}),
        ("off", {}),
    ],
)
def test_proxies_are_what_people_write(read, written, meant):
    """One address, or OpenCensus' table; shown without credentials."""
    loaded = read(arguments={"azure": {"proxies": written}})
    assert loaded.config.azure.proxies == meant
    assert (
        "azure.proxies",
        ", ".join({f"http://{a.rpartition('/')[2].rpartition('@')[2]}" for a in meant.values()}) or "off",
    ) in [row[:2] for row in describe(loaded)]


@pytest.mark.parametrize(
    "value",
    ["{", '{"ftp": "x"}', "ftp://x", "http://", "http://h:99999", "http://u:s3cr3t@", {"https": 1}, 7],
)
def test_a_proxy_that_is_none_is_refused(refused, value):
    """Without its password."""
    sentence = refused(arguments={"azure": {"proxies": value}})
    assert sentence.startswith("azure.proxies (argument azure.proxies) is ")
    assert "s3cr3t" not in sentence


def test_code_may_give_objects_where_a_file_gives_names(read, refused):
    """A credential that has get_token, functions for processors."""

    class Credential:
        def get_token(self, *scopes): ...

    mine = Credential()
    loaded = read(arguments={"azure": {"credential": mine, "processors": [print, "shop.telemetry:scrub"]}})
    assert loaded.config.azure.credential is mine
    assert loaded.config.azure.processors == (print, "shop.telemetry:scrub")
    shown = {key: value for key, value, _ in describe(loaded)}
    assert shown["azure.credential"].endswith("Credential")
    assert shown["azure.processors"] == "print, shop.telemetry:scrub"
    assert "has no get_token" in refused(arguments={"azure": {"credential": 7}})
    assert "is not module:name" in refused(arguments={"azure": {"processors": "scrub"}})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (";;", "it has no InstrumentationKey"),
        ("IngestionEndpoint=https://x/", "it has no InstrumentationKey"),
        ("InstrumentationKey=", "it has no InstrumentationKey"),
        ("InstrumentationKey=s3cr3t", "the instrumentation key is not a GUID"),
        (f"{connection()}\nx", "the instrumentation key is not a GUID"),
        ("s3cr3t", "it has a part that is not Key=Value"),
        (f"Authorization=aad;{connection()}", "its Authorization is not ikey, the only one there is"),
        (
            connection(more=";IngestionEndpoint=ftp://s3cr3t/"),
            "its IngestionEndpoint is not an http or https",
        ),
        *(
            (connection(more=f";IngestionEndpoint={wrong}"), "its IngestionEndpoint is not an http or https")
            for wrong in ("https://h:99999", "https://h:0", "https://[::::]", "https://../s3cr3t")
        ),
        (
            connection(more=";IngestionEndpoint=https://u:s3cr3t@h/"),
            "its IngestionEndpoint is not an http or",
        ),
        (connection(more=";EndpointSuffix=s3cr3t"), "its EndpointSuffix is not a domain"),
        (connection(more=";EndpointSuffix=a.b;Location=s3/cr3t"), "its Location is not a region"),
        (connection(more=";a=" + "s3cr3t" * 1000), "it is longer than 4096 characters"),
    ],
)
def test_a_malformed_connection_string_is_refused_with_the_reason(refused, text, why):
    """And never repeated, for it is a secret."""
    environ = {"APPLICATIONINSIGHTS_CONNECTION_STRING": text, "SERVER_TRACING_EXPORTERS": "azure"}
    sentence = refused(environ)
    assert sentence.startswith(f"environment APPLICATIONINSIGHTS_CONNECTION_STRING is *** ({why}")
    assert "azure.connection_string is not set, but exporters names azure" in sentence
    ours = {"SERVER_TRACING_AZURE_CONNECTION_STRING": text}
    assert f"azure.connection_string (environment {next(iter(ours))}) is ***: {why}" in refused(ours)
    assert "s3cr3t" not in sentence


def test_an_exporter_that_knows_no_destination_stops_the_start(refused):
    """With where to find it."""
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in refused({"SERVER_TRACING_EXPORTERS": "azure"})


def test_a_token_travels_by_https_alone(refused):
    """Whoever listens could use it."""
    text = connection(more=";IngestionEndpoint=http://10.0.0.1/")
    azure = {"connection_string": text, "credential": "DefaultAzureCredential"}
    assert "azure.credential" in refused(arguments={"azure": azure, "exporters": ["azure"]})


def test_the_name_of_an_app_service_is_a_service_when_nobody_says_better(read):
    """The platform knows it, and everybody else knows better."""
    site = {"WEBSITE_SITE_NAME": "shop-site"}
    assert read(site).config.service == "shop-site"
    assert read(site, 'service = "shop"').config.service == "shop"


# ---------------------------------------------------------------- shown


def test_config_is_shown_with_sources_and_without_secrets(read):
    """What `server-tracing config` prints."""
    rows = describe(
        read(
            {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": connection(7),
                "SERVER_TRACING_JOURNAL_SIZE": "1048576",
                "SERVER_TRACING_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
            }
        )
    )
    assert ("journal.size", "1MiB", "environment SERVER_TRACING_JOURNAL_SIZE") in rows
    assert ("service", "the application's module name", "default") in rows
    assert ("sampling.keep_errors", "10/s", "default") in rows
    assert ("azure.connection_string", "***", "environment APPLICATIONINSIGHTS_CONNECTION_STRING") in rows
    assert ("xray.daemon_address", "127.0.0.1:2000", "environment SERVER_TRACING_XRAY_DAEMON_ADDRESS") in rows
    assert GUIDS[7] not in str(rows)


def test_destinations_tell_where_records_go_and_nothing_else():
    """Another order or batch size is the same destination; another exporter or address is another."""
    here = destinations(Config(exporters=("local", "console")))
    assert destinations(Config(exporters=("console", "local"), service="x")) == here
    assert destinations(Config(exporters=("local",))) != here

    def jsonl(**given):
        return destinations(Config(exporters=("jsonl",), jsonl=JsonLines(**given)))

    assert jsonl(path="/a") != jsonl(path="/b")
    assert jsonl(max_size=1 << 20) == jsonl()
    assert here.isalnum()

    def xray(**given):
        return destinations(Config(exporters=("xray",), xray=XRay(**given)))

    assert xray(daemon_address="a:1", version="1") == xray(version="2", daemon_address="a:1")
    assert xray(daemon_address="a:1") != xray(daemon_address="b:1")

    def azure(**given):
        return destinations(Config(exporters=("azure",), azure=Azure(**given)))

    assert azure(connection_string="a", timeout=1) == azure(timeout=2, connection_string="a")
    assert azure(connection_string="a") != azure(connection_string="b")


def test_a_rate_that_decides_nothing_is_said(read):
    """Where the rules of X-Ray do: somebody who sets a rate expects it to count."""
    by_xray = 'exporters = ["xray"]\n[sampling]\nrate = 0.1\n'
    source = read(toml=by_xray).sources["sampling.rate"]
    assert read(toml=by_xray).warnings == [
        f"sampling.rate ({source}) decides nothing: X-Ray's rules do; see xray.sampling."
    ]
    assert read(toml=by_xray + '[xray]\nsampling = "ratio"\n').warnings == []
    assert read(toml='exporters = ["xray"]').warnings == []


def test_a_backend_that_is_not_used_is_no_destination():
    """A connection string in the environment changes nothing for who exports locally."""
    with_azure = Config(azure=Azure(connection_string="x"))
    assert destinations(with_azure) == destinations(Config())


@given(
    st.dictionaries(
        st.sampled_from([*sorted(map(variable, KEYS)), "OTEL_RESOURCE_ATTRIBUTES", "AWS_XRAY_TRACING_NAME"]),
        st.text(),
        max_size=4,
    )
)
def test_no_environment_surprises_us(environ):
    """Every text gives settings or a ConfigError in one printable line."""
    try:
        told = [row[1] for row in describe(load({"HOME": "/nonexistent", **environ}, "/nonexistent"))]
    except ConfigError as error:
        told = [str(error)]
    assert all(text.isprintable() and text for text in told)
