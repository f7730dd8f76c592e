"""What stands between a command line and a record, found before it matters."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import msgspec
import pytest
from sampling_service import SamplingService, serving
from standin_daemon import Daemon

from server_tracing import doctor
from server_tracing.cli import main
from server_tracing.config import Config, XRay, destinations, load
from server_tracing.doctor import FAIL, OK, WARN, examine
from server_tracing.export.sending.spool import Spool
from server_tracing.journal.journals import Journals
from server_tracing.record import Origin


@pytest.fixture
def settings(tmp_path):
    """Loads settings whose places are in the test's folder."""

    def settings(**given):
        places = {"state_dir": str(tmp_path / "state"), "journal.dir": str(tmp_path / "journals")}
        return load(
            {}, tmp_path, {**places, **{key.replace("__", "."): value for key, value in given.items()}}
        )

    return settings


def found(load, environ=None):
    """Findings by subject."""
    return {finding.subject: finding for finding in examine(load, environ or {})}


def test_where_all_is_well_everything_is_ok(settings):
    """And nothing of what was tried out stays."""
    loaded = settings()
    findings = found(lambda: loaded)
    assert {finding.verdict for finding in findings.values()} == {OK}
    assert {"settings", "state", "journal", "local"} <= set(findings)
    assert os.listdir(loaded.config.state_dir) == []
    assert list(Journals(loaded.config.state_dir, explicit=loaded.config.journal.dir).look()) == []


def test_a_wrong_setting_is_the_end_of_it(tmp_path):
    """A server would not start either."""
    finding = found(lambda: load({"SERVER_TRACING_SAMPLING_RATE": "lots"}, tmp_path))["settings"]
    assert finding.verdict == FAIL
    assert "'lots'" in finding.text


def test_being_switched_off_is_said_with_who_did_it(tmp_path):
    """The commonest reason why nothing is recorded."""
    loaded = load({"SERVER_TRACING_ENABLED": "0", "SERVER_TRACING_DIR": str(tmp_path / "state")}, tmp_path)
    finding = found(lambda: loaded)["settings"]
    assert (finding.verdict, finding.text) == (WARN, "tracing is switched off")
    assert "SERVER_TRACING_ENABLED" in finding.remedy


def test_a_state_directory_that_cannot_be_had_is_a_failure_with_a_remedy(settings, tmp_path):
    """And what depends on it is not tried."""
    (tmp_path / "state").write_text("")
    findings = found(settings)
    assert findings["state"].verdict == FAIL
    assert "is a file" in findings["state"].text
    assert "local" not in findings


def test_little_room_is_a_warning(settings, monkeypatch):
    """Before it is an outage."""
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=100 << 20))
    finding = found(settings)["state"]
    assert finding.verdict == WARN
    assert "make room" in finding.remedy


def test_a_journal_that_stands_elsewhere_is_a_warning(settings, tmp_path):
    """It survives less there, or is slower."""
    (tmp_path / "journals").write_text("")
    finding = found(settings)["journal"]
    assert finding.verdict == WARN
    assert str(tmp_path / "state") in finding.text


def test_journals_that_nobody_may_claim_are_named(settings):
    """They wait for `recover`."""
    config = settings().config
    journals = Journals(config.state_dir, explicit=config.journal.dir)
    for name, service, where in (("j1", "old-shop", "elsewhere"), ("j2", "shop", destinations(config))):
        origin = Origin(
            id=name, seed=b"", pid=1, service=service, destinations=where, state_dir=config.state_dir
        )
        journals.release(journals.create(origin, 1 << 16))
    finding = found(settings)["journals"]
    assert finding.verdict == WARN
    assert "1 of other settings wait here (old-shop)" in finding.text
    assert "server-tracing recover" in finding.remedy


def test_what_could_not_be_delivered_under_other_settings_is_named(settings):
    """A corrected address does not deliver it by itself; what waits under these settings is no news."""
    config = settings().config
    for folder in ("azure-0123", "xray-4567", f"azure-{destinations(config)}"):
        spool = Spool(os.path.join(config.state_dir, "spool", folder), "j", size=1 << 20, age=60.0)
        spool.publish(spool.write([doctor.specimen(config)] * (2 if folder == "azure-0123" else 0), "j", 1))
    finding = found(settings)["spool"]
    assert (finding.verdict, finding.text) == (WARN, "2 requests of other settings wait for azure")
    assert "server-tracing recover" in finding.remedy


@pytest.mark.parametrize("name", ["jsonl", "memory", "console"])
def test_every_exporter_is_tried_with_one_record(settings, name):
    """Through the same door as the servers'."""
    assert found(lambda: settings(exporters=[name]))[name].verdict == OK


def test_x_ray_says_what_came_back(settings):
    """By UDP nothing does, but the daemon's other door answers; where nobody is, the API is recommended."""
    with Daemon(tcp=True) as daemon:
        given = {"xray__daemon_address": daemon.address, "xray__sampling": "ratio"}
        loaded = settings(exporters=["xray"], **given)
        finding = found(lambda: loaded)["xray"]
        assert finding.verdict == OK
        assert f"handed over to the X-Ray daemon at {daemon.address}" in finding.text
        assert f"its TCP port {daemon.address} answers" in finding.text
        assert len(daemon.settled()) == 1
    finding = found(lambda: loaded)["xray"]
    assert finding.verdict == FAIL
    assert finding.text == f"nobody listens at {daemon.address} (UDP)"
    assert 'xray.transport = "api"' in finding.remedy


def test_an_exporter_that_is_not_there_is_a_failure(settings):
    """With what was looked for."""
    finding = found(lambda: settings(exporters=["no_such_module:Exporter"]))["no_such_module:Exporter"]
    assert finding.verdict == FAIL
    assert "no_such_module" in finding.text


def test_what_application_insights_answered_is_told(settings):
    """Or why it did not, and what to do."""
    from ingestion import Answer, Ingestion

    with Ingestion() as service:
        azure = {"connection_string": service.connection_string, "proxies": "off"}
        fine = found(lambda: settings(exporters=["azure"], azure=azure))["azure"]
        service.script(Answer(404))
        wrong = found(lambda: settings(exporters=["azure"], azure=azure))["azure"]
    gone = found(lambda: settings(exporters=["azure"], azure=azure))["azure"]
    assert (fine.verdict, wrong.verdict, gone.verdict) == (OK, FAIL, FAIL)
    assert "/v2.1/track answered 200 in" in fine.text
    assert fine.text.endswith("1 of 1 items accepted")
    assert "does not take telemetry of this resource (404)" in wrong.text
    assert "copy the connection string from the portal" in wrong.remedy
    assert gone.text == f"{service.endpoint} refused the connection"


def test_a_hidden_configuration_is_found(settings, monkeypatch):
    """gunicorn reads the last -c only; the one in the variable is gone."""
    variables = {"GUNICORN_CMD_ARGS": "-c python:server_tracing.gunicorn"}
    running = [
        (7, ["/bin/gunicorn", "-c", "own.py", "shop:app"], variables),
        (8, ["/bin/gunicorn", "shop:app"], variables),
        (9, ["/bin/gunicorn", "-c", "own.py", "shop:app"], {}),
    ]
    monkeypatch.setattr(doctor, "_gunicorns", lambda: iter(running))
    finding = found(settings, variables)["gunicorn -c"]
    assert finding.verdict == FAIL
    assert finding.text.startswith("pid 7 has a -c")
    assert found(settings, {}).get("gunicorn -c") is None


@pytest.mark.parametrize(
    ("line", "hides"),
    [
        ("-c own.py", True),
        ("-cown.py", True),
        ("--config own.py", True),
        ("--config=own.py", True),
        ("-c python:server_tracing.gunicorn", False),
        ("--config=python:server_tracing.gunicorn", False),
        ("-w 4 shop:app", False),
        ("--check-config", False),
    ],
)
def test_every_spelling_of_a_configuration_is_seen(line, hides):
    """Short, long, with and without a space."""
    assert doctor._config(line.split()) is hides


def test_a_uvicorn_that_cannot_take_the_variable_is_a_failure(settings, monkeypatch):
    """0.34 refuses an import string for --http."""
    monkeypatch.setattr(doctor, "_version", {"uvicorn": "0.34.1", "gunicorn": "20.0"}.get)
    findings = found(settings, {"UVICORN_HTTP": "server_tracing.uvicorn:Protocol"})
    assert findings["uvicorn"].verdict == OK
    assert findings["UVICORN_HTTP"].verdict == FAIL
    assert findings["gunicorn"].text == "20.0 is too old"


def test_no_server_at_all_is_a_failure(settings, monkeypatch):
    """Probably another environment's Python."""
    monkeypatch.setattr(doctor, "_version", lambda name: "")
    assert found(settings)["servers"].verdict == FAIL


def test_the_rules_of_x_ray_are_asked_for_where_they_decide():
    """How many there are, or why there are none and what happens without."""
    by_xray = Config(exporters=("xray",))
    with serving(SamplingService()) as service:
        place = f"127.0.0.1:{service.port}"
        config = msgspec.structs.replace(by_xray, xray=XRay(daemon_address=place))
        (finding,) = doctor.central_rules(config)
    assert finding == doctor.Finding(OK, "sampling", f"rules from the X-Ray daemon at {place}: 1")
    (finding,) = doctor.central_rules(config)
    assert (finding.verdict, finding.text) == (
        WARN,
        f"no rules from the X-Ray daemon at {place}: Connection refused",
    )
    assert list(doctor.central_rules(msgspec.structs.replace(by_xray, xray=XRay(sampling="ratio")))) == []


def test_the_command_shows_findings_and_ends_accordingly(tmp_path, monkeypatch, capsys):
    """0 and a word of comfort, or 1 and how many things to repair."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERVER_TRACING_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("SERVER_TRACING_JOURNAL_DIR", str(tmp_path / "journals"))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("All is well.\n")
    monkeypatch.setenv("SERVER_TRACING_EXPORTERS", "no_such_module:Exporter")
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("1 thing to repair.\n")
    assert main(["doctor", "--json"]) == 1
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert findings[-1]["verdict"] == FAIL
