"""OPENCENSUS dictionaries, in the forms that OpenCensus' and Microsoft's documentation show."""

from __future__ import annotations

import pytest

from server_tracing.application import opencensus
from server_tracing.application.expressions import ExpressionError, parse

KEY = "12345678-1234-1234-1234-123456789abc"


def read(key, value):
    """What one entry gives, and says."""
    (entry,) = opencensus.read({key: value}, "Flask config")
    return dict(entry.gives), entry.remark


class TestExpressions:
    """Read, never run."""

    def test_calls_with_literals_are_understood(self):
        """Also over several lines, nested, and without a call."""
        assert parse("opencensus.trace.samplers.ProbabilitySampler(rate=0.5)") == (
            "opencensus.trace.samplers.ProbabilitySampler", (), {"rate": 0.5},
        )  # fmt: skip
        assert parse("  a.B(\n  1, 'x', c=[1, {'d': None}]\n)\n") == (
            "a.B",
            (1, "x"),
            {"c": [1, {"d": None}]},
        )
        assert parse("a.B(c=d.E())").named["c"].kind == "E"
        assert parse("a.B") == ("a.B", (), {})

    @pytest.mark.parametrize(
        "text",
        [
            "__import__('os').system('true')",
            "a.B(open('/etc/passwd').read())",
            "a.B(1 + x)",
            "a.B(*[1])",
            "a.B(**{})",
            "(lambda: 1)()",
            "[a.B() for _ in range(9)]",
            "a.B() if c else d",
            "1",
            "'text'",
            "",
            "a.B(",
            "a; b",
            "\0",
            "(" * 5000,
            "-" * 100_000 + "1",
        ],
    )
    def test_everything_else_is_refused(self, text):
        """In a sentence, without being run."""
        with pytest.raises(ExpressionError):
            parse(text)

    def test_a_secret_in_one_is_not_repeated(self):
        """It goes to a log."""
        with pytest.raises(ExpressionError) as refused:
            parse(f"a.AzureExporter(connection_string='InstrumentationKey={KEY}' + end)")
        assert KEY not in str(refused.value)


SAMPLERS = [
    ("opencensus.trace.samplers.ProbabilitySampler(rate=0.5)", 0.5),
    ("opencensus.trace.samplers.ProbabilitySampler(0.25)", 0.25),
    ("opencensus.trace.samplers.ProbabilitySampler()", 1e-4),
    ("opencensus.trace.samplers.AlwaysOnSampler()", 1.0),
    ("opencensus.trace.samplers.AlwaysOffSampler()", 0.0),
    ("opencensus.trace.samplers.AlwaysOnSampler", 1.0),
]


@pytest.mark.parametrize(("written", "rate"), SAMPLERS)
def test_samplers_are_rates(written, rate):
    """As an expression, and as the object that OpenCensus would have made of it."""
    assert read("SAMPLER", written) == ({"sampling.rate": rate}, "")
    pytest.importorskip("opencensus.trace.samplers")
    from opencensus.common.configuration import load

    if written.endswith(")"):
        assert read("SAMPLER", load(written)) == ({"sampling.rate": rate}, "")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("opencensus.trace.propagation.trace_context_http_header_format.TraceContextPropagator()", "w3c"),
        ("opencensus.trace.propagation.b3_format.B3FormatPropagator()", "b3"),
        ("opencensus.trace.propagation.google_cloud_format.GoogleCloudFormatPropagator()", "google"),
    ],
)
def test_propagators_are_headers(written, name):
    """One that reads none, as two of OpenCensus' own, is ignored."""
    assert read("PROPAGATOR", written) == ({"propagation": [name]}, "")
    gives, remark = read("PROPAGATOR", "opencensus.trace.propagation.binary_format.BinaryFormatPropagator()")
    assert (gives, remark.partition(":")[0]) == ({}, "ignored")


class TestExporters:
    """Where Application Insights is."""

    DOCUMENTED = f"""opencensus.ext.azure.trace_exporter.AzureExporter(
            connection_string="InstrumentationKey={KEY}"
        )"""

    def test_the_documented_expression(self):
        """With the blanks it has in the documentation."""
        assert read("EXPORTER", self.DOCUMENTED) == (
            {"azure.connection_string": f"InstrumentationKey={KEY}"}, "",
        )  # fmt: skip

    def test_options_that_have_a_setting_of_ours(self):
        """The others are said to be ignored."""
        gives, remark = read(
            "EXPORTER",
            "opencensus.ext.azure.trace_exporter.AzureExporter("
            f"instrumentation_key='{KEY}', timeout=5.0, storage_retention_period=604800, "
            "credential=azure.identity.DefaultAzureCredential(), queue_capacity=9, export_interval=1)",
        )
        assert gives == {
            "azure.instrumentation_key": KEY,
            "azure.timeout": 5.0,
            "azure.storage_retention": 172800.0,
            "azure.credential": "DefaultAzureCredential",
        }
        assert remark.startswith("export_interval, queue_capacity in it ignored")

    def test_an_object(self):
        """By what it was given."""

        class AzureExporter:
            class options:  # noqa: N801
                connection_string = None
                instrumentation_key = KEY
                endpoint = "https://westeurope-5.in.applicationinsights.azure.com"

        assert read("EXPORTER", AzureExporter()) == (
            {
                "azure.connection_string": f"InstrumentationKey={KEY};IngestionEndpoint="
                "https://westeurope-5.in.applicationinsights.azure.com"
            },
            "",
        )

    def test_other_exporters_are_left_as_they_are(self):
        """They still get what they got."""
        gives, remark = read("EXPORTER", "opencensus.ext.jaeger.trace_exporter.JaegerExporter()")
        assert gives == {}
        assert remark == "ignored: JaegerExporter does not send to Application Insights, and is left as it is"


@pytest.mark.parametrize("key", ["EXCLUDELIST_PATHS", "BLACKLIST_PATHS"])
def test_excluded_paths_keep_their_meaning(key):
    """Under their old name too, as a list or a string; what could never match is said."""
    assert read(key, ["health", "_ah/"]) == ({"exclude": ["health", "_ah/"]}, "")
    assert read(key, "health") == ({"exclude": ["health"]}, "")
    gives, remark = read(key, ["https://example.com", "/health", "ready"])
    assert gives == {"exclude": ["ready"]}
    assert remark.startswith("https://example.com, /health ignored")


@pytest.mark.parametrize("key", ["EXCLUDELIST_HOSTNAMES", "BLACKLIST_HOSTNAMES"])
def test_hosts_that_integrations_leave_out(key):
    """By either name."""
    assert read(key, ["localhost:9200"]) == ({"azure.excluded_hosts": ["localhost:9200"]}, "")


@pytest.mark.parametrize(
    ("key", "value"), [("SAMPLER", "open('x') + 1"), ("EXPORTER", "a.b + c"), ("EXCLUDELIST_PATHS", 7)]
)
def test_what_is_not_evaluated_is_one_sentence(key, value):
    """With the setting of ours to use instead."""
    (entry,) = opencensus.read({key: value}, "Django settings")
    assert entry.refused
    assert entry.remark.startswith("ignored: ")
    assert entry.remark.endswith(f"; set {opencensus.OURS[key]}")


@pytest.mark.parametrize(
    ("key", "value"), [("SAMPLERS", "x"), ("SAMPLER", None), ("SAMPLER", "a.MySampler()")]
)
def test_what_is_unknown_is_said(key, value):
    """It gives nothing."""
    gives, remark = read(key, value)
    assert gives == {}
    assert remark.startswith("ignored: ")
