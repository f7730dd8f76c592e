"""Every setting, its default and what it accepts, in one place; `load` finds the values.

The defaults are the fields of `Config`; `SETTINGS` says of each how a value is read and shown.
A variable's name is the key's, `SERVER_TRACING_SAMPLING_RATE`; only `state_dir` is `SERVER_TRACING_DIR`.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from server_tracing.config import accepted, azure
from server_tracing.config.setting import PATH, SWITCH, Setting
from server_tracing.units import Rate, duration, duration_text, share, size, size_text, switch, whole, words

# Case-insensitive globs over the names of query parameters whose values never leave the process.
SECRETS = (
    "*token*",
    "*password*",
    "*passwd*",
    "pwd",
    "*secret*",
    "*credential*",
    "*api_key*",
    "*api-key*",
    "*apikey*",
    "*access_key*",
    "*accesskey*",
    "*private_key*",
    "*connection_string*",
    "*connectionstring*",
    "code",
    "sig*",
    "session*",
    "*sessid*",
    "*sessionid*",
    "sid",
    "auth*",
    "jwt",
    "X-Amz-*",
    "X-Goog-*",
)


class Sampling(Struct, frozen=True, kw_only=True):
    """What leaves the machine."""

    rate: float = 1.0
    rules: str | None = None
    keep_errors: bool | Rate = Rate(10)
    keep_slower_than: float | None = 1.0  # None: slowness keeps nothing


class Capture(Struct, frozen=True, kw_only=True):
    """What is written down of a request."""

    query: str = "redact"
    redact: tuple[str, ...] = SECRETS
    headers: tuple[str, ...] = ()
    stuck_after: float | None = None  # None: half the worker timeout; 0: never
    trusted_proxies: tuple[str, ...] | None = None  # None: the server's own; (): nobody
    cpu: bool = False
    derive_routes: bool = True  # from the path, where the framework is not known


class JournalSettings(Struct, frozen=True, kw_only=True):
    """The ring each worker writes."""

    size: int = 8 << 20
    dir: str | None = None


class Local(Struct, frozen=True, kw_only=True):
    """The store that needs no account."""

    max_size: int = 256 << 20
    retention: float = 86400.0
    sampled_only: bool = False


class JsonLines(Struct, frozen=True, kw_only=True):
    """A file of lines for programs."""

    path: str = ""  # "": requests.jsonl in the state directory
    max_size: int = 64 << 20


class XRay(Struct, frozen=True, kw_only=True):
    """AWS X-Ray: where segments go, and what stands in them."""

    enabled: bool = True  # false: the exporter is left out, whatever `exporters` says
    transport: str = "daemon"
    daemon_address: str = "127.0.0.1:2000"
    region: str = ""  # "": AWS_REGION, else as botocore finds it
    endpoint: str = ""  # "": the region's own
    sampling: str = "xray"
    plugins: tuple[str, ...] = ()
    streaming_threshold: int = 30
    version: str = ""
    context_missing: str = "LOG_ERROR"
    patch: tuple[str, ...] = ()  # libraries that the SDK instruments before the application is imported


class Config(Struct, frozen=True, kw_only=True):
    """All settings, understood."""

    enabled: bool = True
    service: str = ""  # "": the application's module name
    dynamic_naming: str | None = None
    exporters: tuple[str, ...] = ("local",)
    exclude: tuple[str, ...] = ()
    state_dir: str = ""  # `load` always fills it in
    response_header: bool = False
    propagation: tuple[str, ...] = ("xray", "w3c", "b3")
    trust_context: str = "always"
    sampling: Sampling = Sampling()
    capture: Capture = Capture()
    journal: JournalSettings = JournalSettings()
    local: Local = Local()
    jsonl: JsonLines = JsonLines()
    xray: XRay = XRay()
    azure: azure.Azure = azure.Azure()

    @property
    def by_xray(self) -> bool:
        """Whether the rules of X-Ray decide what is sampled."""
        return self.xray.sampling == "xray" and "xray" in self.exporters


HEADERS = ("xray", "w3c", "b3", "google")
TEN_YEARS = 3650 * 86400.0
SETTINGS = (
    Setting("enabled", switch, SWITCH),
    Setting("service", accepted.service, "a name of 1 to 200 characters", "the application's module name"),
    Setting("dynamic_naming", accepted.pattern, "a host name with * and ?, such as *.example.com", "off"),
    Setting("exporters", accepted.exporters, accepted.EXPORTERS_ACCEPTED),
    Setting("exclude", words, 'a list such as ["/health", "GET /static/*", "host:internal.*"]'),
    Setting("state_dir", accepted.path, PATH),
    Setting("response_header", switch, SWITCH),
    Setting("propagation", accepted.some_of(*HEADERS), f"a list of {', '.join(HEADERS)}"),
    Setting("trust_context", accepted.one_of("always", "proxies", "never"), "always, proxies or never"),
    Setting("sampling.rate", share, "a share from 0 to 1, such as 0.05 or 5%"),
    Setting("sampling.rules", accepted.path, "the path of an X-Ray rules file, or its text", "none"),
    Setting("sampling.keep_errors", accepted.keep_errors, "true, false, or a rate such as 10/s"),
    Setting(
        "sampling.keep_slower_than",
        accepted.duration_or_off(None),
        "a duration such as 500ms, or off",
        absent="off",
        show=duration_text,
    ),
    Setting("capture.query", accepted.one_of("keep", "redact", "drop"), "keep, redact or drop"),
    Setting("capture.redact", words, "a list of parameter names with * and ?"),
    Setting("capture.headers", accepted.header_names, "a list of header names"),
    Setting(
        "capture.stuck_after",
        accepted.duration_or_off(0.0),
        "a duration such as 10s, or off",
        absent="half the worker timeout",
        show=accepted.duration_or_off_text,
    ),
    Setting(
        "capture.trusted_proxies",
        accepted.addresses,
        "a list of addresses and networks such as 10.0.0.0/8, or *",
        absent="the server's own forwarded_allow_ips",
    ),
    Setting("capture.cpu", switch, SWITCH),
    Setting("capture.derive_routes", switch, SWITCH),
    Setting(
        "journal.size",
        accepted.within(size, 256 << 10, 1 << 30),
        "a size from 256KiB to 1GiB",
        show=size_text,
    ),
    Setting("journal.dir", accepted.path, PATH, "shared memory, else the state directory"),
    Setting(
        "local.max_size",
        accepted.within(size, 1 << 20, 1 << 40),
        "a size from 1MiB to 1TiB",
        show=size_text,
    ),
    Setting(
        "local.retention",
        accepted.within(duration, 1.0, TEN_YEARS),
        "a duration from 1s to 3650d",
        show=duration_text,
    ),
    Setting("local.sampled_only", switch, SWITCH),
    Setting(
        "jsonl.path",
        accepted.path,
        "a path, or - for standard output",
        absent="requests.jsonl in the state directory",
        where=True,
    ),
    Setting(
        "jsonl.max_size",
        accepted.within(size, 64 << 10, 1 << 40),
        "a size from 64KiB to 1TiB",
        show=size_text,
    ),
    Setting("xray.enabled", switch, SWITCH),
    Setting("xray.transport", accepted.one_of("daemon", "api"), "daemon or api", where=True),
    Setting(
        "xray.daemon_address",
        accepted.daemon_address,
        "host:port, or tcp:host:port udp:host:port",
        where=True,
    ),
    Setting(
        "xray.region",
        accepted.region,
        "a region such as eu-west-1",
        "AWS_REGION, else as botocore finds it",
        where=True,
    ),
    Setting("xray.endpoint", accepted.endpoint, "an http or https URL", "the region's own", where=True),
    Setting("xray.sampling", accepted.one_of("xray", "ratio"), "xray or ratio"),
    Setting("xray.plugins", accepted.plugins, f"a list of {', '.join(accepted.PLUGINS)}"),
    Setting("xray.streaming_threshold", accepted.within(whole, 0, 10_000), "a number from 0 to 10000"),
    Setting("xray.version", accepted.text, "text", "none"),
    Setting("xray.context_missing", accepted.context_missing, " or ".join(accepted.CONTEXT_MISSING)),
    Setting("xray.patch", accepted.module_names, 'a list such as ["requests", "psycopg"], or all'),
    *azure.SETTINGS,
)
KEYS = frozenset(setting.key for setting in SETTINGS)
PATHS = ("state_dir", "sampling.rules", "journal.dir", "jsonl.path")


def default(key: str) -> Any:
    """What a setting is when nobody says anything."""
    return value_of(Config(), key)


def value_of(config: Config, key: str) -> Any:
    """A setting by its dotted key."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value
