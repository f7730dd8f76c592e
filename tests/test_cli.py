"""The command line: what is printed, how it ends, and that nobody sees a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
from believable import event, failed, killed, request, requests

from server_tracing.cli import COMMANDS, main
from server_tracing.config import Config, JournalSettings
from server_tracing.journal.journals import Journals
from server_tracing.journal.ledger import Checkpoint, Tally
from server_tracing.store import FILE, Store

NOW = datetime.now(timezone.utc)


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state directory with a few requests in it, named by the environment."""
    folder = tmp_path / "state"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERVER_TRACING_DIR", str(folder))
    monkeypatch.setenv("SERVER_TRACING_JOURNAL_DIR", str(tmp_path / "journals"))
    store = Store(str(folder / FILE))
    told = [
        request(1, start=NOW - timedelta(hours=3)),
        failed(2, start=NOW - timedelta(hours=2)),
        killed(3, start=NOW - timedelta(minutes=10)),
    ]
    store.append([*told, event(1, time=NOW)], "journal", 1)
    store.fold("journal", Checkpoint(seen=3, exporters={"local": Tally(delivered=3)}))
    store.close()
    return folder


@pytest.fixture
def run(capsys):
    """Runs a command line: exit code, lines on standard output, standard error."""

    def run(line):
        code = main(line.split())
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out.splitlines(), captured.err

    return run


def command(line, **options):
    return [sys.executable, "-m", "server_tracing.cli", *line.split()]


class TestHelp:
    def test_every_command_is_listed_and_explains_itself(self, run):
        """`--help` and `-h`."""
        code, lines, _ = run("--help")
        assert code == 0
        for name in COMMANDS:
            assert any(line.startswith(f"  {name} ") for line in lines)
            code, own, _ = run(f"{name} -h")
            assert code == 0
            assert own[0].startswith(f"Usage: server-tracing {name}")

    def test_help_imports_click_and_little_else(self):
        """No store, no settings, no rooms: it is the first thing anybody types."""
        script = (
            "import sys; from server_tracing.cli import main; main(['--help']);"
            "print([m for m in sys.modules if m.split('.')[0] in ('sqlite3', 'msgspec', 'psutil')"
            " or m.startswith('server_tracing.')], file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "['server_tracing.cli']"

    def test_a_typo_is_answered_with_the_nearest_command(self, run):
        """Exit code 2."""
        code, _, errors = run("reqests")
        assert code == 2
        assert "Did you mean 'requests'?" in errors


class TestTables:
    def test_requests_are_listed_newest_first(self, run, state):
        """Exit code 0, as there are some."""
        code, lines, errors = run("requests")
        assert code == 0
        assert [line.split()[2:4] for line in lines[1:]] == [
            ["killed", "30.0"],
            ["500", "error"],
            ["200", "12.5"],
        ]
        assert errors == ""

    @pytest.mark.parametrize(
        ("options", "count"),
        [
            ("--status 5xx", 1),
            ("--status 2xx --status 5xx", 2),
            ("--outcome killed,error", 2),
            ("--path /pro --service shop", 1),
            ("--route /c*", 1),
            ("--slower 1s", 1),
            ("--since 1h", 1),
            ("--limit 2", 2),
            ("--limit 0", 3),
        ],
    )
    def test_options_choose(self, run, state, options, count):
        """As their help says."""
        code, lines, _ = run(f"requests --json {options}")
        assert (code, len(lines)) == (0, count)

    @pytest.mark.parametrize(
        "line", ["requests --status 418", "requests --outcome running", "trace ffff", "stats --service none"]
    )
    def test_nothing_found_is_exit_code_1_and_a_sentence(self, run, state, line):
        """On standard error, so that a pipe gets nothing."""
        code, lines, errors = run(line)
        assert (code, lines) == (1, [])
        assert errors.strip().endswith(".")

    def test_a_trace_is_shown_by_how_its_id_begins(self, run, state):
        """As `requests` prints it."""
        _, (line,), _ = run("requests --json --outcome error")
        trace = json.loads(line)["trace_id"]
        code, lines, _ = run(f"trace {trace[:12]}")
        assert code == 0
        assert lines[0] == f"Trace {trace}"
        assert run(f"trace 1-{trace[:8]}-{trace[8:]} --json")[1] == [line]

    def test_an_ambiguous_trace_id_lists_what_it_may_mean(self, run, state):
        """Exit code 1."""
        ids = [json.loads(line)["trace_id"] for line in run("requests --json")[1]]
        common = next(ids[0][:size] for size in range(31, 0, -1) if len({one[:size] for one in ids}) == 1)
        code, lines, errors = run(f"trace {common}")
        assert (code, lines) == (1, [])
        assert "3 traces begin with" in errors

    def test_counts_agree_with_the_list(self, run, state):
        """`stats` and `requests` tell the same story."""
        code, lines, _ = run("stats --json")
        assert code == 0
        assert sum(json.loads(line)["count"] for line in lines) == 3
        assert run("stats")[1][-2].split()[0] == "3"

    def test_health_says_whether_everything_adds_up(self, run, state):
        """By its exit code too."""
        code, lines, _ = run("health")
        assert code == 0
        assert lines[0].split() == ["REQUESTS", "LOCAL"]
        assert json.loads(run("health --json")[1][0])["exporters"][0]["delivered"] == 3

    def test_a_miscount_is_a_failure(self, run, state):
        """Of the recorder, which says so itself."""
        store = Store(str(state / FILE))
        store.fold("other", Checkpoint(seen=2, exporters={"local": Tally(delivered=1)}))
        store.close()
        code, lines, _ = run("health")
        assert code == 1
        assert any("1 missing" in line for line in lines)

    def test_settings_are_shown_with_their_sources(self, run, state):
        """Also as JSON."""
        code, lines, _ = run("config")
        assert code == 0
        (line,) = [line for line in lines if line.startswith("state_dir")]
        assert "environment SERVER_TRACING_DIR" in line
        assert all(
            set(json.loads(line)) == {"setting", "value", "source"} for line in run("config --json")[1]
        )

    def test_recovering_nothing_is_no_failure(self, run, state):
        """It is said."""
        assert run("recover")[:2] == (0, ["Nothing was left behind."])

    def test_settings_of_supervisors_that_have_ended_go_too(self, run, state):
        """They hold keys, and nobody will ask for them."""
        kept = state / "settings-1-1.json"
        kept.touch(0o600)
        run("recover")
        assert not kept.exists()

    def test_only_its_owner_can_recover_a_state_directory(self, run, state, monkeypatch):
        """To find nothing of somebody else's would say that nothing is there."""
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 54321)
        code, lines, errors = run("recover")
        assert (code, lines) == (1, [])
        assert f"{state} belongs to " in errors
        assert "run this as " in errors

    def test_another_state_directory_can_be_named(self, run, state, tmp_path):
        """Stronger than the environment."""
        store = Store(str(tmp_path / "other" / FILE))
        store.append(requests(5), "journal", 1)
        store.close()
        assert len(run(f"requests --json --state-dir {tmp_path}/other")[1]) == 5


class TestMistakes:
    @pytest.mark.parametrize(
        "line",
        [
            "requests --status abc",
            "requests --since yesterday",
            "requests --slower fast",
            "requests --outcome dead",
            "requests --limit -1",
            "requests --nonsense",
            "trace",
            "trace xyz!",
            "stats --since x",
            "run",
            "run hypercorn shop:app",
        ],
    )
    def test_what_is_typed_wrongly_is_exit_code_2_and_one_sentence(self, run, state, line):
        """With what is accepted."""
        code, lines, errors = run(line)
        assert (code, lines) == (2, [])
        assert errors.strip()

    @pytest.mark.parametrize("name", ["requests", "trace 12", "stats", "config", "recover"])
    def test_a_wrong_setting_is_exit_code_2_and_names_itself(self, run, state, monkeypatch, name):
        """The same sentence that the server would not start with."""
        monkeypatch.setenv("SERVER_TRACING_SAMPLING_RATE", "lots")
        code, lines, errors = run(name)
        assert (code, lines) == (2, [])
        assert "sampling.rate (environment SERVER_TRACING_SAMPLING_RATE) is 'lots'" in errors

    def test_a_wrong_setting_does_not_keep_anybody_from_looking(self, run, state, monkeypatch):
        """Where the directory is named there is nothing to resolve."""
        monkeypatch.setenv("SERVER_TRACING_SAMPLING_RATE", "lots")
        assert run(f"requests --state-dir {state}")[0] == 0

    def test_a_store_that_cannot_be_made_is_not_taken_for_nothing_recorded(self, run, state, tmp_path):
        """What waits in journals is pointed at; a directory that is none is called so."""
        place = tmp_path / "other"
        config = Config(state_dir=str(place), journal=JournalSettings(dir=str(tmp_path / "journals")))
        journals = Journals.of(config, "shop")
        journals.create(journals.origin("gunicorn 27"), 1 << 20)
        code, lines, errors = run(f"requests --state-dir {place}")
        assert (code, lines) == (1, [])
        assert "waits in journals. `server-tracing health` shows how much" in errors
        (tmp_path / "file").touch()
        assert "it is not a directory" in run(f"stats --state-dir {tmp_path}/file")[2]

    def test_what_is_running_cannot_be_followed(self, run, state):
        """It would wait for ever: what arrives has ended."""
        code, lines, errors = run("requests --follow --outcome running")
        assert (code, lines) == (2, [])
        assert "--follow shows requests once they have ended" in errors

    @pytest.mark.parametrize("name", ["requests", "requests --follow", "trace 12", "stats", "health"])
    def test_no_state_is_exit_code_1_and_a_sentence(self, run, tmp_path, name):
        """Nothing is made by looking."""
        code, lines, errors = run(f"{name} --state-dir {tmp_path}/nowhere")
        assert (code, lines) == (1, [])
        assert str(tmp_path / "nowhere") in errors
        assert not (tmp_path / "nowhere").exists()

    @pytest.mark.parametrize("name", ["requests", "trace 12", "stats"])
    @pytest.mark.parametrize("spoil", ["garbage", "directory"])
    def test_a_store_that_is_none_is_exit_code_1_and_a_sentence(self, run, tmp_path, name, spoil):
        """It stays as it is."""
        path = tmp_path / FILE
        path.write_bytes(b"garbage" * 999) if spoil == "garbage" else path.mkdir()
        code, lines, errors = run(f"{name} --state-dir {tmp_path}")
        assert (code, lines) == (1, [])
        assert errors.startswith(f"server-tracing: The store {path} cannot be ")
        assert path.exists()

    def test_a_fault_of_ours_is_a_sentence_with_a_way_to_see_more(self, run, state, monkeypatch):
        """A traceback only where it is asked for."""
        monkeypatch.setattr("server_tracing.store.view.View.stats", lambda *_: 1 / 0)
        code, _, errors = run("stats")
        assert code == 1
        assert (
            errors
            == "server-tracing: ZeroDivisionError: division by zero (SERVER_TRACING_DEBUG=1 shows where)\n"
        )
        monkeypatch.setenv("SERVER_TRACING_DEBUG", "1")
        done = subprocess.run(command("requests --state-dir /dev/null"), capture_output=True, text=True)
        assert done.returncode == 1
        assert "Traceback" in done.stderr


class TestEnding:
    def test_a_reader_that_has_seen_enough_is_no_error(self, state):
        """`requests | head` ends quietly."""
        store = Store(str(state / FILE))
        store.append(requests(3000, start=NOW), "many", 1)
        store.close()
        process = subprocess.Popen(
            command("requests --limit 0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
        )
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        assert process.wait(30) == 128 + signal.SIGPIPE
        assert errors == b""

    def test_following_goes_on_until_interrupted(self, state):
        """What arrives is shown at once, in a pipe too; Ctrl-C is no error to speak of."""
        process = subprocess.Popen(
            command("requests --follow --json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ,
        )
        known = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert [line["outcome"] for line in known] == ["ok", "error", "killed"]
        store = Store(str(state / FILE))
        store.append([request(9, path="/new")], "later", 1)
        store.close()
        assert json.loads(process.stdout.readline())["path"] == "/new"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 128 + signal.SIGINT
        assert errors == b""

    def test_a_terminal_that_cannot_show_a_character_gets_its_escape(self, state):
        """An ASCII locale is no reason to fail."""
        store = Store(str(state / FILE))
        store.append([request(9, path="/日本")], "later", 1)
        store.close()
        done = subprocess.run(
            command("requests"),
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            check=True,
        )
        assert b"/\\u65e5\\u672c" in done.stdout


def test_root_that_became_the_owner_is_told_what_is_wrong_without_an_import():
    """The owner may not be allowed to read root's interpreter."""
    said = """
import sys
from server_tracing.cli import _failed
from server_tracing.commands import common
error = common.StateDirError("/state belongs to ada")
sys.meta_path.clear()
sys.exit(_failed(error))
"""
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "server-tracing: /state belongs to ada\n")


@pytest.mark.parametrize("name", ["requests", "health", "stats", "trace 12"])
def test_no_directorys_name_acts_on_a_terminal(capsys, name):
    """Whoever chose it."""
    assert main([*name.split(), "--state-dir", "/nowhere/\x1b[2J"]) == 1
    errors = capsys.readouterr().err
    assert "/nowhere/\\x1b[2J" in errors
    assert "\x1b" not in errors
