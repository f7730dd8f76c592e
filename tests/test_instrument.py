"""What is switched on for an application from outside, and when nothing is."""

from __future__ import annotations

import pytest

from server_tracing import instrument
from server_tracing.config import Azure, Config, XRay
from server_tracing.worker import bridges_of


@pytest.fixture(autouse=True)
def nothing_done(monkeypatch):
    """As in a new process."""
    monkeypatch.setattr(instrument, "_done", set())


@pytest.mark.parametrize(
    ("config", "bridges"),
    [
        (Config(), ()),
        (Config(exporters=("local", "xray")), ("xray",)),
        (Config(exporters=("azure", "xray")), ("xray", "opencensus")),
        (Config(xray=XRay(patch=("requests",))), ("xray",)),
        (Config(xray=XRay(patch=("requests",), enabled=False)), ()),
        (Config(azure=Azure(integrations=("requests",))), ("opencensus",)),
    ],
)
def test_a_library_is_followed_where_its_backend_is_ours_to_serve(config, bridges):
    """Else it serves it itself, and must go on to."""
    assert bridges_of(config) == bridges


def test_every_name_is_tried_once_and_by_itself(caplog):
    """What cannot be instrumented is one sentence, and the next one is tried."""
    tried = []

    def switch_on(name):
        tried.append(name)
        if name == "bad":
            raise ImportError("No module named 'bad'\nand more")

    for _ in range(2):
        instrument.each("xray.patch", ("bad", "good"), switch_on)
    assert tried == ["bad", "good"]
    assert caplog.messages == ["xray.patch names bad, which cannot be instrumented: No module named 'bad'."]


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(enabled=False, xray=XRay(patch=("no_such_library",))),
        Config(xray=XRay(enabled=False, patch=("no_such_library",))),
    ],
)
def test_off_is_off(config, caplog):
    """Nothing is tried."""
    instrument.instrument(config)
    assert (instrument._done, caplog.messages) == (set(), [])


@pytest.mark.parametrize("name", ["requsts", "no.such.module"])
def test_a_name_the_sdk_does_not_know_is_a_sentence(name, caplog):
    """In its words."""
    pytest.importorskip("aws_xray_sdk")
    instrument.instrument(Config(xray=XRay(patch=(name,))))
    (line,) = caplog.messages
    assert line.startswith(f"xray.patch names {name}, which cannot be instrumented: ")
    assert "\n" not in line


def test_an_integration_that_is_not_installed_is_named(caplog):
    """As the package that would have it."""
    pytest.importorskip("opencensus.ext.azure")
    instrument.instrument(Config(azure=Azure(integrations=("no_such",))))
    (line,) = caplog.messages
    assert line.startswith("azure.integrations names no_such, which cannot be instrumented: ")
    assert line.endswith("opencensus-ext-no-such is not installed.")
