import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinynet.initialise import initial_state
from tinynet.spec import format_spec, load_spec

from parity.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

SCRIPTS = Path(__file__).parents[2] / "scripts"
E = load_spec("tinynet_e")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "e.safetensors"
    save_checkpoint(path, Checkpoint(initial_state(E, 0), E))
    return path


@pytest.fixture
def command(monkeypatch, capsys):
    # Runs the script in this process, as it would run in its own: status, output, errors.
    monkeypatch.syspath_prepend(SCRIPTS)
    location = importlib.util.spec_from_file_location("convert_script", SCRIPTS / "convert.py")
    script = importlib.util.module_from_spec(location)
    location.loader.exec_module(script)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            script.run(lambda: script.main([str(argument) for argument in arguments]))
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return run


def test_json_has_the_promised_fields(command, source, tmp_path):
    destination = tmp_path / "b.safetensors"
    status, out, err = command(source, destination, "--names", "mindspore", "--json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["source"] == str(source)
    assert report["destination"] == str(destination)
    assert (report["spec"], report["tensors"]) == ("tinynet_e", 197)
    assert load_checkpoint(destination).layout == "MindSpore names"


def test_without_destination_it_tells_what_the_file_is(command, source):
    status, out, _ = command(source)
    assert status == 0
    assert "tinynet_e" in out
    assert "197" in out
    status, out, _ = command(source, "--json")
    assert json.loads(out)["dtypes"] == ["float32"]


def test_a_new_classifier(command, source, tmp_path):
    own = tmp_path / "ten.json"
    own.write_text(format_spec(E.with_classes(10)))
    destination = tmp_path / "ten.safetensors"
    status, _, err = command(source, destination, "--spec", own)
    assert status == 2
    assert err.count("\n") == 1
    assert "--new-classifier" in err
    assert not destination.exists()
    assert command(source, destination, "--spec", own, "--new-classifier", 7)[0] == 0
    drawn = initial_state(E.with_classes(10), 7)["classifier.weight"]
    np.testing.assert_array_equal(load_checkpoint(destination).state["classifier.weight"], drawn)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}/nothing.safetensors"], "nothing.safetensors: No such file or directory"),
        (["{folder}/nothing.txt"], "unknown suffix"),
        (["{folder}"], "unknown suffix"),
        (["{source}", "--spec", "tinynet_z"], "tinynet_z: no such spec"),
        (["{source}", "--spec", "tinynet_a"], "was made for tinynet_e"),
        (["{source}", "{folder}/b.safetensors", "--ema"], "holds no averaged weights"),
        (["{source}", "--names", "mindspore"], "need a DST"),
        (["{source}", "{folder}/b.safetensors", "--names", "x"], "invalid choice"),
        ([], "required: SRC"),
    ],
)
def test_a_users_error_is_one_line(command, source, tmp_path, arguments, message):
    filled = [text.format(folder=tmp_path, source=source) for text in arguments]
    status, out, err = command(*filled)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_needs_nothing_heavy():
    program = (
        "import sys, runpy\n"
        f"sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "sys.argv = ['convert.py', '--help']\n"
        "try: runpy.run_path(sys.path[0] + '/convert.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'jsonschema', 'torch', 'mindspore'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "examples:" in ran.stdout


def test_a_reader_that_has_enough_is_no_error(source):
    command = f"{sys.executable} {SCRIPTS / 'convert.py'} {source} | head -c 1"
    ran = subprocess.run(command, shell=True, check=True, capture_output=True, text=True)
    assert ran.stderr == ""


def test_scripts_do_not_hide_the_package_parity(tmp_path):
    # As if a script of that name were there, whether or not one is.
    for name in ("convert.py", "_command.py"):
        (tmp_path / name).write_bytes((SCRIPTS / name).read_bytes())
    (tmp_path / "parity.py").write_text("raise SystemExit('the wrong parity')")
    command = [sys.executable, tmp_path / "convert.py", tmp_path / "nothing.pth"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS.parent)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "nothing.pth: No such file or directory" in ran.stderr
