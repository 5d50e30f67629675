from __future__ import annotations

import io
import re
import sys
from importlib.metadata import entry_points

import pytest
from cli_processes import run_cli, run_python

from asgi_infra import cli
from asgi_infra._version import __version__
from asgi_infra.cli.run import worker_count
from asgi_infra.cli.runner import Wrapping
from asgi_infra.cli.servers import ServerOptions, choose_server, server_command
from asgi_infra.cli.terminal import Terminal, first_line
from asgi_infra.errors import ConfigurationError, InfrastructureError, MissingExtraError


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_the_console_script_is_main():
    (script,) = entry_points(group="console_scripts", name="asgi-infra")
    assert script.load() is cli.main


def test_without_a_command_it_shows_the_help(capsys):
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "exit codes:" in shown


@pytest.mark.parametrize("command", ["run", "demo", "doctor", "audit"])
def test_the_help_of_each_command_has_examples_exit_codes_and_no_long_line(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"asgi-infra {command} " in shown
    assert "examples:" in shown
    assert "exit codes:" in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_every_option_has_a_help_text(capsys):
    for command in ("run", "demo", "doctor", "audit"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        shown = capsys.readouterr().out
        for option in re.findall(r"^  (--[a-z-]+)[^\n]*", shown, re.MULTILINE):
            assert re.search(rf"^  {option}[^\n]*(\s{{2,}}|\n\s+)[a-z]", shown, re.MULTILINE), option


def test_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"asgi-infra {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["sell"],
        ["run"],
        ["doctor"],
        ["run", "shop:app", "--port", "65536"],
        ["run", "shop:app", "--port", "-1"],
        ["run", "shop:app", "--port", "٣"],
        ["run", "shop:app", "--workers", "0"],
        ["run", "shop:app", "--server", "apache"],
        ["run", "shop:app", "--metrics-path", "metrics"],
        ["run", "shop:app", "--metrics-path", "/"],
        ["doctor", "shop:app", "--", "--reload"],
    ],
)
def test_a_command_line_that_does_not_parse_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "usage", "said"),
    [
        (
            ["run", "shop:app", "--ws", "none"],
            "usage: asgi-infra run ",
            "unrecognized arguments: --ws none; server options go after --: asgi-infra run shop:app -- --ws none",
        ),
        (["run", "shop:app", "shop:other"], "usage: asgi-infra run ", "unrecognized arguments: shop:other"),
        (["doctor", "shop:app", "--wide"], "usage: asgi-infra doctor ", "unrecognized arguments: --wide"),
        (["--wide"], "usage: asgi-infra [-h]", "unrecognized arguments: --wide"),
    ],
)
def test_an_unknown_option_is_told_with_the_usage_of_its_command_and_the_way_to_the_server(
    arguments, usage, said, capsys
):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    shown = capsys.readouterr().err
    assert ended.value.code == 2
    assert shown.startswith(usage)
    assert shown.endswith(f"error: {said}\n")


def test_help_imports_no_command_and_no_server():
    script = (
        "import sys\n"
        "from asgi_infra.cli import main\n"
        "before = set(sys.modules)\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "late = {'asgi_infra.cli.run', 'asgi_infra.cli.demo', 'asgi_infra.cli.doctor', 'uvicorn'}\n"
        "print(sorted(late & set(sys.modules)), file=sys.stderr)\n"
    )
    assert run_python("-c", script).stderr.strip() == "[]"


def test_output_into_a_closed_pipe_ends_quietly(tmp_path):
    (tmp_path / "shop.py").write_text("async def app(scope, receive, send): ...")
    script = (
        "import os, subprocess, sys\n"
        "reader, writer = os.pipe()\n"
        "os.close(reader)\n"
        "done = subprocess.run([sys.executable, '-m', 'asgi_infra.cli', 'doctor', 'shop:app', '--json'],"
        " stdout=writer, stderr=subprocess.PIPE, text=True)\n"
        "print(done.stderr)\n"
    )
    assert "Traceback" not in run_python("-c", script, cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("port must be a number"), 2),
        (MissingExtraError("uvicorn", purpose="the demo", extra="cli"), 2),
        (InfrastructureError("the address is taken"), 1),
        (ConfigurationError("malformed pattern\n    /[a\n     ^"), 2),
    ],
)
def test_our_errors_are_one_line_without_traceback(error, code, monkeypatch, capsys):
    import asgi_infra.cli.doctor

    def fail(options):
        raise error

    monkeypatch.setattr(asgi_infra.cli.doctor, "execute", fail)
    assert cli.main(["doctor", "shop:app"]) == code
    assert capsys.readouterr().err == f"asgi-infra: {first_line(error)}\n"


def test_an_interrupt_ends_with_the_shells_code(monkeypatch):
    import asgi_infra.cli.doctor

    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(asgi_infra.cli.doctor, "execute", interrupt)
    assert cli.main(["doctor", "shop:app"]) == 130


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Screen(), {}, True),
        (Screen(), {"NO_COLOR": "1"}, False),
        (Screen(), {"NO_COLOR": ""}, True),
        (Screen(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (Screen(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_are_for_terminals_and_no_color_turns_them_off(stream, environ, coloured):
    assert ("\x1b[" in Terminal(stream, environ).paint("ok", "green")) is coloured


def test_a_terminal_that_lacks_a_character_shows_a_question_mark():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Terminal(stream, {}).line("0 → 1")
    assert raw.getvalue() == b"0 ? 1\n"


def test_a_missing_server_gives_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr("asgi_infra.cli.servers.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=re.escape("granian is not installed. Install it with: pip install")):
        choose_server("granian")
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'asgi-infra[cli]'")):
        choose_server(None)


def test_the_first_server_that_is_installed_is_chosen(monkeypatch):
    assert choose_server(None) == "uvicorn"
    monkeypatch.setattr("asgi_infra.cli.servers.find_spec", lambda name: None if name == "uvicorn" else object())
    assert choose_server(None) == "granian"


@pytest.mark.parametrize(
    ("server", "options", "arguments"),
    [
        ("uvicorn", {}, ["m:f", "--factory", "--no-access-log"]),
        (
            "uvicorn",
            {"host": "::1", "port": 0},
            ["m:f", "--factory", "--no-access-log", "--host", "::1", "--port", "0"],
        ),
        (
            "granian",
            {"workers": 3, "reload": True, "arguments": ["--ws"]},
            [
                *("m:f", "--factory", "--interface", "asgi", "--no-access-log", "--workers", "3"),
                *("--reload", "--ws"),
            ],
        ),
        ("hypercorn", {}, ["m:f()"]),
        ("hypercorn", {"port": 9000}, ["m:f()", "--bind", "127.0.0.1:9000"]),
        ("hypercorn", {"host": "::1"}, ["m:f()", "--bind", "[::1]:8000"]),
    ],
)
def test_each_server_is_told_in_its_own_words(server, options, arguments):
    assert server_command(server, "m:f", ServerOptions(**options)) == [sys.executable, "-m", server, *arguments]


@pytest.mark.parametrize(
    ("option", "environ", "workers"),
    [
        (3, {"WEB_CONCURRENCY": "2"}, 3),
        (None, {"WEB_CONCURRENCY": "2"}, 2),
        (None, {}, 1),
        (None, {"WEB_CONCURRENCY": "x"}, 1),
    ],
)
def test_workers_come_from_the_option_or_the_environment(option, environ, workers):
    assert worker_count(option, environ) == workers


@pytest.mark.parametrize(
    "wrapping",
    [
        Wrapping(target="shop:app"),
        Wrapping(
            target="shop.main:create",
            factory=True,
            service="Teeladen ☕",
            exclude=("/health", "/{a,b}/**"),
            metrics_path="/m",
        ),
    ],
)
def test_what_to_wrap_survives_the_way_through_the_environment(wrapping):
    assert Wrapping.from_environ(wrapping.to_environ()) == wrapping


def test_the_module_runs_as_the_script_does():
    assert run_cli("--version").stdout == f"asgi-infra {__version__}\n"
