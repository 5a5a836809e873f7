"""The command line without a model: help, listings, plugins, and how errors look."""

import json
import logging
import os
import subprocess
import sys
import time
import warnings
from importlib.metadata import EntryPoint

import pytest
from click.testing import CliRunner

import eap_plugin.cli.commands.plugins
import eap_plugin.cli.work
from eap_plugin import __version__, api
from eap_plugin.cli import main
from eap_plugin.cli.output import number, numbers, percent
from eap_plugin.cli.work import quiet, working
from eap_plugin.host import Host

LISTINGS = ("algorithms", "backends", "metrics", "selections", "tasks")


def eap(*args, **env):
    return CliRunner().invoke(main, args, prog_name="eap", env={"COLUMNS": "80", **env})


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def installed(monkeypatch):
    """Replace the installed plugins by the given entry points."""

    def install(**values):
        points = [EntryPoint(name, value, "eap_plugin") for name, value in values.items()]
        host = Host(points)
        monkeypatch.setattr(eap_plugin.cli.commands.plugins, "get_host", lambda: host)

    return install


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["run", "--help"], ["plugins", "--all"]])
def test_help_and_plugins_import_nothing_heavy(args):
    code = f"""
import sys
from eap_plugin.cli import main
main({args!r}, prog_name="eap", standalone_mode=False)
heavy = {{"torch", "transformers", "transformer_lens", "numpy", "safetensors"}} & set(sys.modules)
print("heavy:", sorted(heavy))
"""
    assert python(code).endswith("heavy: []\n")


def test_module_is_the_command():
    run = subprocess.run([sys.executable, "-m", "eap_plugin", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"eap, version {__version__}\n"


def test_help_lists_every_command_whole():
    text = eap("--help").stdout
    listed = [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line]
    assert listed == list(main.commands)
    assert "..." not in text.partition("Commands:")[2]


@pytest.mark.parametrize("kind", LISTINGS)
def test_listing_fits_a_terminal_and_agrees_with_json(kind):
    shown = eap(kind)
    assert shown.exit_code == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "\x1b" not in shown.stdout
    document = json.loads(eap(kind, "--json").stdout)
    entries = document["tasks"] + document["formats"] if kind == "tasks" else document
    assert {"eap-plugin"} == {entry["plugin"] for entry in entries}
    for entry in entries:
        assert f"{entry['name']} " in shown.stdout


def test_listings_hold_what_is_registered():
    for kind in LISTINGS:
        document = json.loads(eap(kind, "--json").stdout)
        names = [entry["name"] for entry in (document["tasks"] if kind == "tasks" else document)]
        assert names == list(getattr(api, kind)())


def test_algorithm_is_documented_with_its_options():
    document = json.loads(eap("algorithms", "eap", "--json").stdout)
    assert document["cost"] == {"forwards": 2, "backwards": 1}
    text = eap("algorithms", "eap").stdout
    assert "arXiv 2310.10348" in text
    assert "2 forward, 1 back" in text
    assert {"positions", "answer_diff"} <= {option["name"] for option in document["options"]}
    for option in document["options"]:
        assert f"\n{option['name']} " in text
    assert "(at least 0)" in eap("algorithms", "random").stdout


def test_plugins_hide_the_built_in_ones():
    assert "eap-plugin:algorithms" not in eap("plugins").stdout
    shown = eap("plugins", "--all", "--check")
    assert shown.exit_code == 0
    listed = [line.split() for line in shown.stdout.splitlines()]
    assert ["eap-plugin:algorithms", __version__, "ok", "algorithms"] in listed


def test_failed_plugin_is_listed_with_the_reason(installed):
    installed(good="eap_plugin.metric", broken="no_such_module")
    assert eap("plugins").exit_code == 0
    shown = eap("plugins", "--check")
    assert shown.exit_code == 1
    assert "No module named 'no_such_module'" in shown.stdout
    states = {p["name"]: p["state"] for p in json.loads(eap("plugins", "--json").stdout)["plugins"]}
    assert states == {"good": "ok", "broken": "failed"}


def test_conflict_shows_only_when_hooks_are_called(installed):
    installed(one="eap_plugin.metric", other="eap_plugin.metric")
    assert json.loads(eap("plugins", "--json").stdout)["warnings"] == []
    checked = eap("plugins", "--check", "--json")
    assert checked.exit_code == 1
    lines = json.loads(checked.stdout)["warnings"]
    assert [line.split()[1] for line in lines] == [repr(name) for name in api.metrics()]
    assert all("registered by one and by other" in line for line in lines)


def test_disabled_plugin_says_why(installed, monkeypatch):
    monkeypatch.setenv("EAP_PLUGIN_DISABLE", "one")
    installed(one="eap_plugin.metric")
    shown = eap("plugins")
    assert "disabled" in shown.stdout
    assert "disabled by EAP_PLUGIN_DISABLE" in shown.stdout


@pytest.mark.parametrize(
    ("args", "exit_code", "says"),
    [
        (["algorithms", "epa"], 2, "did you mean 'eap'?"),
        (["run", "m", "-t", "ioi", "-a", "epa"], 2, "did you mean 'eap'?"),
        (["run", "m", "-t", "ioi", "-a", "eap-ig"], 2, "did you mean 'eap-ig-activations' or 'eap-ig-inputs'?"),
        (["run", "m", "-t", "ioi", "-a", "x" * 5000], 2, "unknown algorithm 'xxxxxxxxxxxxxxxxxxxxxxxxx"),
        (["run", "", "-t", "ioi"], 2, "a model is a shipped one, a folder or a name on the hub; got ''"),
        (["run", "ioi-gpt2", "-t", ""], 2, "a task is one of those that eap tasks lists, or a file; got ''"),
        (["run", "ioi-gpt2", "-t", "x" * 5000], 2, "a task is one of those that eap tasks lists, or a file"),
        (["run", "ioi-gpt2", "-t", "ioi", "-n", "99999999999999"], 2, "at most 9,326,592 different prompt pairs"),
        (["run", "m", "-t", "ioi", "-m", "logitdiff"], 2, "did you mean 'logit_diff' or 'logprob_diff'?"),
        (["run", "m", "-t", "ioi", "-O", "postions=1"], 2, "did you mean 'positions'?"),
        (["run", "m", "-t", "ioi", "-O", "positions"], 2, "name=value"),
        (["run", "m", "-t", "ioi", "-O", "positions=3"], 2, "true or false"),
        (["run", "m", "-t", "ioi", "--backend", "abacus"], 2, "unknown backend 'abacus'"),
        (["run", "m", "-t", "ioi", "-o", "no/folder/s.safetensors"], 2, "no/folder does not exist"),
        (["run", "./no-such-folder", "-t", "ioi"], 2, "./no-such-folder"),
        (["run", "ioi-gpt2", "-t", "oioi"], 2, "did you mean 'ioi'?"),
        (["run", "ioi-gpt2", "-t", "no-such.jsonl"], 2, "no-such.jsonl"),
        (["run", "ioi-gpt2", "-t", "ioi", "--format", ""], 2, "'ioi' is the name of a task; leave format out"),
        (["run", "ioi-gpt2", "-t", "ioi", "--revision", "main"], 2, "only models on the hub have revisions"),
        (["run", "ioi-gpt2", "-t", "ioi", "-n4", "-a", "random", "--ablation-task", "ioi"], 2, "no option ablation"),
        (["show", "no-such.safetensors"], 2, "no-such.safetensors"),
        (["show", __file__], 2, "test_cli.py"),
        (["check", "./no-such-folder"], 2, "./no-such-folder"),
    ],
)
def test_mistake_is_one_line(args, exit_code, says):
    result = eap(*args)
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert says in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_click_reports_its_own_usage_errors():
    for args in (["frobnicate"], ["run", "m"], ["run", "m", "-t", "ioi", "-n", "0"]):
        assert eap(*args).exit_code == 2


def failing_with(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(api, "load_model", fail)
    return eap("run", "m", "-t", "ioi")


def test_unexpected_error_is_one_line_unless_debugging(monkeypatch):
    result = failing_with(monkeypatch, RuntimeError("first line\n  second line"))
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: RuntimeError: first line second line (unexpected; set EAP_DEBUG=1 to see where it happened)\n"
    )
    monkeypatch.setenv("EAP_DEBUG", "1")
    debugged = failing_with(monkeypatch, RuntimeError("boom"))
    assert isinstance(debugged.exception, RuntimeError)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "--batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "--batch-size"),
        (FileNotFoundError(2, "No such file or directory", "weights.bin"), "weights.bin: No such file"),
    ],
)
def test_expected_failures_have_their_own_words(monkeypatch, error, says):
    result = failing_with(monkeypatch, error)
    assert result.exit_code == 1
    assert says in result.stderr
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "+1.235"),
        (-0.0123456, "-0.01235"),
        (1234.4, "+1234"),
        (0.0, "+0.000"),
        (-4.5678e-7, "-4.568e-07"),
    ],
)
def test_number_has_a_sign_and_four_digits(value, text):
    assert number(value) == text


def test_numbers_align():
    assert numbers([12.345, -0.9876, 123.4]) == [" +12.35  ", "  -0.9876", "+123.4   "]
    assert numbers([1.5, -2e-8]) == ["+1.500e+00", "-2.000e-08"]
    assert numbers([]) == []


def test_percent_has_no_negative_zero():
    assert [percent(-1e-9), percent(0.9149), percent(-0.02)] == ["0.0%", "91.5%", "-2.0%"]


def make_noise_and_fail():
    print("printed")
    print("printed", file=sys.stderr)
    logging.getLogger("x").error("logged")
    warnings.warn("warned", stacklevel=1)
    raise RuntimeError


def test_quiet_silences_and_restores(capsys):
    before = dict(os.environ), logging.root.manager.disable, list(warnings.filters)
    with pytest.raises(RuntimeError), quiet():
        make_noise_and_fail()
    assert capsys.readouterr() == ("", "")
    assert (dict(os.environ), logging.root.manager.disable, list(warnings.filters)) == before


@pytest.mark.parametrize(("terminal", "show"), [(True, True), (True, False), (False, True)])
def test_progress_shows_on_a_terminal_after_a_while(monkeypatch, capsys, terminal, show):
    monkeypatch.setattr(eap_plugin.cli.work, "DELAY", 0.05)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with working(show) as work:
        work.step("Scoring")
        work.advance(3, 10)
        time.sleep(0.4)
    shown = capsys.readouterr().err
    assert ("3/10 prompt pairs" in shown) == (terminal and show)
    if not (terminal and show):
        assert shown == ""


def test_short_work_shows_nothing(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with working(True) as work:
        work.step("Scoring")
    assert "Scoring" not in capsys.readouterr().err
