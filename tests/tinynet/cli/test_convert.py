import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.checkpoints.training_state import load_training_state, save_training_state
from tinynet.net.initialise import initial_state
from tinynet.spec import format_spec, load_spec

from training_states import assert_same, run_state

SCRIPTS = Path(__file__).parents[3] / "scripts"
E = load_spec("tinynet_e")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "e.safetensors"
    save_checkpoint(path, Checkpoint(initial_state(E, 0), E))
    return path


@pytest.fixture
def command(run_script):
    return partial(run_script, "convert")


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


# Training checkpoints


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    path = tmp_path_factory.mktemp("training") / "last.safetensors"
    save_training_state(path, run_state("rmsprop", ema=True))
    return path


def test_without_destination_it_tells_how_far_a_run_got(command, training):
    status, out, _ = command(training)
    assert status == 0
    assert "layout    training checkpoint" in out
    line = (
        "training  recipe digits_rmsprop, step 70, epoch 3.73, best ema_top1 0.3 at step 60, "
        "EMA updates 69"
    )
    assert line in out
    report = json.loads(command(training, "--json")[1])
    state = run_state("rmsprop", ema=True)
    assert report["tensors"] == len(state.tensors)
    assert (report["spec"], report["notes"]) == ("small", [])
    assert report["training"] == {
        "recipe": "digits_rmsprop",
        "version": 1,
        "seed": -3,
        "images": 300,
        "data_sha256": "00ff" * 16,
        "step": 70,
        "epoch": 1120 / 300,
        "position": 1120,
        "ema_updates": 69,
        "best": {"metric": "ema_top1", "value": 0.1 + 0.2, "step": 60},
        "loss_scale": 32768.0,
        "good_steps": 11,
    }


def test_of_mere_weights_there_is_no_training_to_tell(command, source):
    assert "training" not in command(source)[1]
    assert json.loads(command(source, "--json")[1])["training"] is None


def test_a_training_checkpoint_is_converted_whole(command, training, tmp_path):
    destination = tmp_path / "b.safetensors"
    status, out, err = command(training, destination, "--json")
    report, state = json.loads(out), run_state("rmsprop", ema=True)
    assert (status, err) == (0, "")
    assert (report["spec"], report["tensors"]) == ("small", len(state.tensors))
    assert report["training"]["step"] == 70
    assert_same(load_training_state(destination), state)
    assert destination.read_bytes() == training.read_bytes()
    assert "step 70, epoch 3.73" in command(training, destination)[1]


@pytest.mark.parametrize("option", ["--weights-only", "--ema"])
def test_only_weights_of_a_training_checkpoint(command, training, tmp_path, option):
    destination = tmp_path / "b.safetensors"
    status, out, err = command(training, destination, option, "--json")
    report, state = json.loads(out), run_state("rmsprop", ema=True)
    assert (status, err) == (0, "")
    assert (report["tensors"], report["training"]) == (len(state.weights), None)
    aside = "raw weights" if option == "--ema" else "averaged weights"
    assert report["notes"] == [
        f"step 70 of a training run; left aside: {aside}, optimizer state (mean_square, momentum)"
    ]
    checkpoint = load_checkpoint(destination)
    expected = state.ema if option == "--ema" else state.weights
    assert {k: a.tobytes() for k, a in checkpoint.state.items()} == {
        k: a.tobytes() for k, a in expected.items()
    }
    assert command(destination, tmp_path / "c.safetensors", "--weights-only")[0] == 0


def test_mindspores_names_for_weights_of_a_training_checkpoint(command, training, tmp_path):
    destination = tmp_path / "ms.safetensors"
    status, _, err = command(training, destination, "--names", "mindspore")
    assert (status, destination.exists()) == (2, False)
    assert err == (
        f"error: {training}: is a training checkpoint, --names is for weights; take the raw ones "
        "with --weights-only or the averaged ones with --ema\n"
    )
    assert command(training, destination, "--names", "mindspore", "--weights-only")[0] == 0
    assert load_checkpoint(destination).layout == "MindSpore names"


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
        (["{source}", "--weights-only"], "need a DST"),
        (["{source}", "{folder}/b.pth", "--weights-only", "--ema"], "not allowed with"),
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
    (tmp_path / "convert.py").write_bytes((SCRIPTS / "convert.py").read_bytes())
    # As the script of that name, which stands beside it.
    (tmp_path / "parity.py").write_text("raise SystemExit('the wrong parity')")
    command = [sys.executable, tmp_path / "convert.py", tmp_path / "nothing.pth"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS.parent)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "nothing.pth: No such file or directory" in ran.stderr
