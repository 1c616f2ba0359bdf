"""The program ``tinynet``: its table of commands, and what it says to what it does not know."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tinynet import __version__
from tinynet.cli import COMMANDS, main
from tinynet.cli.command import command_line

from parity.cli.run import VERBS

SCRIPTS = Path(__file__).parents[3] / "scripts"
TABLE = {name: module for group in COMMANDS.values() for name, module, _ in group}
MODULES = [*TABLE.values(), *(f"parity.cli.{verb}" for verb in VERBS)]


@pytest.fixture
def program(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            main(list(words))
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return run


def test_help_lists_every_command_in_its_group(program):
    status, out, err = program("--help")
    assert (status, err) == (0, "")
    for title, commands in COMMANDS.items():
        listed = out.split(f"\n{title}:\n")[1].split("\n\n")[0].splitlines()
        assert [line.split()[0] for line in listed] == [name for name, _, _ in commands]
        assert all(does in line for line, (_, _, does) in zip(listed, commands, strict=True))


def test_help_of_parity_lists_every_verb(program):
    _, out, _ = program("parity", "--help")
    listed = out.split("\nother jobs, ")[1].split("\n\n")[0]
    for verb, does in VERBS.items():
        assert f" {verb} " in listed
        assert does.split()[0] in listed


def test_every_command_has_a_script_and_every_script_a_command():
    scripts = {path.stem for path in SCRIPTS.glob("*.py")} - {"benchmark"}
    assert scripts == {name.replace("-", "_") for name in TABLE}


@pytest.mark.parametrize("module", MODULES)
def test_every_command_has_the_same_interface(module):
    command = importlib.import_module(module)
    assert "\nExamples:\n  tinynet " in command.__doc__
    assert [*inspect.signature(command.add_arguments).parameters] == ["parser"]
    assert [*inspect.signature(command.run).parameters] == ["options"]


@pytest.mark.parametrize("words", [["make-subset"], ["make_subset"], ["parity", "gate"]])
def test_a_name_with_a_dash_may_have_an_underscore(words, program):
    status, out, _ = program(*words, "--help")
    assert status == 0
    assert out.startswith(f"usage: tinynet {' '.join(words).replace('_', '-')} [-h]")


def test_a_script_prints_the_help_of_its_command(program):
    _, out, _ = program("convert", "--help")
    script = [sys.executable, SCRIPTS / "convert.py", "--help"]
    found = subprocess.run(script, capture_output=True, text=True, check=True)
    assert found.stdout.split() == out.split()  # a terminal's width may break lines elsewhere


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "trian: tinynet has no such command, did you mean train?"),
        (["xyz"], "xyz: tinynet has no such command"),
        (["parity", "gates"], "gates: tinynet parity has no such verb, did you mean gate?"),
        ([], "the following arguments are required: COMMAND"),
        (["summary", "--jsn"], "unrecognized arguments: --jsn"),
        (["evaluate", "--framework", "tf"], "argument --framework: invalid choice: 'tf'"),
        (
            ["parity", "--seed", "1", "gate"],
            "gate stands after --seed, expected it to be the first",
        ),
    ],
)
def test_what_it_does_not_know_is_one_line_and_status_2(words, message, program):
    status, out, err = program(*words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {message}")
    assert err.endswith("(--help tells more)\n")


def test_version(program):
    assert program("--version") == (0, f"tinynet {__version__}\n", "")


def test_the_module_is_the_program():
    found = subprocess.run(
        [sys.executable, "-m", "tinynet", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout == f"tinynet {__version__}\n"


@pytest.mark.parametrize(
    ("started", "launcher", "line"),
    [
        ("scripts/train.py", "", "python scripts/train.py --data 'my images'"),
        (
            "/home/me/checkout/scripts/train.py",
            "msrun",
            "msrun scripts/train.py --data 'my images'",
        ),
        ("/usr/bin/tinynet", "", "tinynet train --data 'my images'"),
        (
            "/usr/lib/tinynet/__main__.py",
            "torchrun",
            "torchrun -m tinynet train --data 'my images'",
        ),
    ],
)
def test_the_line_that_gives_a_command_again(started, launcher, line, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert command_line(["train", "--data", "my images"], launcher) == line


def test_checks_may_be_named_as_levels(program):
    words = ["parity", "--spec", "tinynet_digits", "--framework", "torch"]
    for option in ("--checks", "--levels"):
        status, out, _ = program(*words, option, "parameters", "--json")
        assert status == 0
        assert [check["name"] for check in json.loads(out)["checks"]] == ["parameters"]
