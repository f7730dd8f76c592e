"""`server-tracing run`: which command line becomes which, and that it is really executed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from server_tracing.launch import GUNICORN_DOOR, UVICORN_DOOR, LaunchError, find_server, prepare, run

OURS = ["-c", GUNICORN_DOOR]
FACTORY = [UVICORN_DOOR, "--factory"]


class TestFindingTheServer:
    """The server is told by the name of what is started."""

    @pytest.mark.parametrize(
        ("command", "server", "first"),
        [
            ("gunicorn shop:app", "gunicorn", 1),
            ("/opt/shop/bin/uvicorn shop:app", "uvicorn", 1),
            ("gunicorn3 shop:app", "gunicorn", 1),
            ("python -m uvicorn shop:app", "uvicorn", 3),
            ("/usr/bin/python3.12 -X dev -W error -u -m gunicorn shop:app", "gunicorn", 8),
            ("python3 -mgunicorn shop:app", "gunicorn", 2),
            ("python /opt/shop/bin/gunicorn shop:app", "gunicorn", 2),
        ],
    )
    def test_every_way_to_start_a_server_is_understood(self, command, server, first):
        """By name, by path, as a module, as a script of some interpreter."""
        assert find_server(command.split()) == (server, first)

    @pytest.mark.parametrize(
        "command", ["hypercorn a:b", "python a.py", "python -c x", "python -m", "python"]
    )
    def test_another_program_is_refused_in_one_sentence(self, command):
        """What is neither server is named, with what to do."""
        with pytest.raises(LaunchError, match="directly in front of the server's own command") as raised:
            prepare(command.split())
        assert raised.value.code == 2
        assert "\n" not in str(raised.value)

    def test_no_command_at_all_is_a_usage_error(self):
        """`server-tracing run` alone says how it is used."""
        with pytest.raises(LaunchError, match="server-tracing run gunicorn"):
            prepare([])


class TestGunicorn:
    """gunicorn gets our `-c`; its own configuration goes to the door."""

    def test_the_door_is_added_at_the_end(self):
        """Of several -c the last counts, so the rest of the line can stay as it is."""
        command = ["gunicorn", "-w", "2", "shop:app"]
        assert prepare(command) == ([*command, *OURS], {})

    @pytest.mark.parametrize(
        "option",
        ["-c own.py", "-cown.py", "--config own.py", "--conf own.py", "--config=own.py", "-Rc own.py"],
    )
    def test_the_users_configuration_is_handed_to_the_door(self, option):
        """However it was spelled."""
        command = ["gunicorn", *option.split(), "shop:app"]
        launch = prepare(command)
        assert launch.argv == [*command, *OURS]
        assert launch.variables == {"SERVER_TRACING_GUNICORN_CONF": "own.py"}

    def test_a_configuration_named_in_the_environment_counts(self, monkeypatch):
        """Our -c would shadow the one in GUNICORN_CMD_ARGS."""
        monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 3 -c 'my conf.py'")
        assert prepare(["gunicorn", "shop:app"]).variables == {"SERVER_TRACING_GUNICORN_CONF": "my conf.py"}

    def test_the_command_line_beats_the_environment(self, monkeypatch):
        """As it does for gunicorn itself."""
        monkeypatch.setenv("GUNICORN_CMD_ARGS", "-c env.py")
        launch = prepare(["gunicorn", "-c", "line.py", "shop:app"])
        assert launch.variables == {"SERVER_TRACING_GUNICORN_CONF": "line.py"}

    def test_an_options_value_is_not_taken_for_the_option(self):
        """`--name=-c` names the processes."""
        assert prepare(["gunicorn", "--name=-c", "shop:app"]).variables == {}

    def test_a_door_that_is_there_already_is_left_alone(self, monkeypatch):
        """On the line or in the environment: the command is executed as it is."""
        command = ["gunicorn", *OURS, "shop:app"]
        assert prepare(command) == (command, {})
        monkeypatch.setenv("GUNICORN_CMD_ARGS", f"-c {GUNICORN_DOOR}")
        assert prepare(["gunicorn", "shop:app"]) == (["gunicorn", "shop:app"], {})

    def test_what_follows_two_dashes_stays_behind_them(self):
        """Options end at `--`, so ours goes before it."""
        launch = prepare(["gunicorn", "-w", "1", "--", "shop:app"])
        assert launch.argv == ["gunicorn", "-w", "1", *OURS, "--", "shop:app"]

    @pytest.mark.parametrize("option", ["--version", "--help", "--no-such-option", "-b"])
    def test_a_line_gunicorn_would_not_serve_is_left_to_gunicorn(self, option, capfd):
        """It prints what it would have printed, and we print nothing."""
        assert prepare(["gunicorn", "shop:app", option]) == (["gunicorn", "shop:app", option], {})
        assert capfd.readouterr() == ("", "")


class TestUvicorn:
    """uvicorn gets our factory; the application goes to the factory."""

    def test_the_application_is_replaced_by_the_factory(self):
        """Every other word stays, in its order."""
        launch = prepare(["uvicorn", "--port", "80", "shop:app", "--app-dir", "src"])
        assert launch.argv == ["uvicorn", *FACTORY, "--port", "80", "--app-dir", "src"]
        assert launch.variables == {"SERVER_TRACING_APP": "shop:app"}

    def test_a_factory_stays_a_factory(self):
        """--factory speaks of the user's application, and is handed on."""
        launch = prepare(["uvicorn", "--factory", "shop:make"])
        assert launch.variables == {"SERVER_TRACING_APP": "shop:make", "SERVER_TRACING_APP_FACTORY": "1"}

    def test_an_options_value_is_not_taken_for_the_application(self):
        """A directory may have the application's name."""
        launch = prepare(["uvicorn", "--app-dir", "shop:app", "shop:app"])
        assert launch.argv == ["uvicorn", *FACTORY, "--app-dir", "shop:app"]

    def test_an_application_named_in_the_environment_counts(self, monkeypatch):
        """UVICORN_APP and UVICORN_FACTORY are the command line of containers."""
        monkeypatch.setenv("UVICORN_APP", "shop:make")
        monkeypatch.setenv("UVICORN_FACTORY", "1")
        launch = prepare(["uvicorn", "--port", "80"])
        assert launch.argv == ["uvicorn", *FACTORY, "--port", "80"]
        assert launch.variables == {"SERVER_TRACING_APP": "shop:make", "SERVER_TRACING_APP_FACTORY": "1"}

    def test_the_command_line_beats_the_environment(self, monkeypatch):
        """As it does for uvicorn itself."""
        monkeypatch.setenv("UVICORN_APP", "env:app")
        assert prepare(["uvicorn", "line:app"]).variables == {"SERVER_TRACING_APP": "line:app"}

    @pytest.mark.parametrize(
        "line",
        ["--version", "a:b --no-such-option", "a:b --port", "", "--http server_tracing.uvicorn:Protocol a:b"],
    )
    def test_a_line_that_needs_no_door_is_left_alone(self, line):
        """Because uvicorn will not serve, or because a door is there already."""
        command = ["uvicorn", *line.split()]
        assert prepare(command) == (command, {})


class TestSwitch:
    """SERVER_TRACING_ENABLED=0 beats everything."""

    @pytest.mark.parametrize("value", ["0", "false", "No", " off "])
    def test_switched_off_the_command_is_executed_untouched(self, monkeypatch, value):
        """Not even the program's name is looked at."""
        monkeypatch.setenv("SERVER_TRACING_ENABLED", value)
        assert prepare(["hypercorn", "a:b"]) == (["hypercorn", "a:b"], {})


class TestRunning:
    """The process becomes the server."""

    @pytest.mark.parametrize(
        ("command", "code", "sentence"),
        [
            (
                ["/nowhere/gunicorn", "shop:app"],
                1,
                "cannot start '/nowhere/gunicorn': No such file or directory",
            ),
            (["hypercorn", "shop:app"], 2, "'hypercorn' is neither"),
        ],
    )
    def test_what_cannot_be_started_is_one_sentence(self, command, code, sentence):
        """Not a traceback."""
        with pytest.raises(LaunchError, match=sentence) as raised:
            run(command)
        assert raised.value.code == code

    def test_the_process_is_replaced(self, tmp_path):
        """The server has the pid it was started with, gets our arguments, and its exit code counts."""
        program = tmp_path / "gunicorn"
        says = "import os, sys\nprint(os.getpid(), *sys.argv[1:])\nsys.exit(7)\n"
        program.write_text(f"#!{sys.executable}\n{says}")
        program.chmod(0o755)
        script = f"from server_tracing.launch import run; run([{str(program)!r}, 'shop:app'])"
        started = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        printed, _ = started.communicate(timeout=60)
        assert printed.split() == [str(started.pid), "shop:app", *OURS]
        assert started.returncode == 7
