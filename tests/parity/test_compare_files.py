"""Whether two files hold the same model: the same in every format, and every difference seen."""

import dataclasses
import json

import numpy as np
import pytest

from tinynet.backend import load_backend
from tinynet.checkpoints.files import Checkpoint, save_checkpoint, save_training
from tinynet.deploy import onnx_file
from tinynet.net.initialise import initial_state
from tinynet.spec import load_spec

from parity import compare_files
from parity.inputs import sample_state
from training_states import SMALL, run_state

KEY = "blocks.1.1.conv_pwl.weight"
SUFFIXES = (".safetensors", ".pth", ".ckpt")
FRAMEWORKS = ("torch", "mindspore")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with one model in every format, and one of which a tensor is off by a hundredth."""
    folder = tmp_path_factory.mktemp("models")
    state = sample_state(SMALL, 0, load_backend("torch"))
    models = {"right": state, "wrong": {**state, KEY: state[KEY] * np.float32(1.01)}}
    for name, weights in models.items():
        for suffix in SUFFIXES:
            save_checkpoint(folder / f"{name}{suffix}", Checkpoint(weights, SMALL))
        for framework in FRAMEWORKS:
            onnx_file.export(framework, SMALL, weights, folder / f"{name}-{framework}.onnx")
    return folder


@pytest.fixture
def compare(run_script):
    """Compares two files; gives the exit status and the JSON, or what went wrong."""

    def run(*arguments):
        status, out, err = run_script("parity", "compare", *arguments, "--json")
        return status, json.loads(out) if out else err

    return run


def failed(found):
    """Which checks failed, each with the place of its first failure."""
    checks = [check for check in found["checks"] if not check["passed"]]
    return {check["name"]: check["failures"][0]["where"] for check in checks}


@pytest.mark.parametrize("pair", [(".pth", ".ckpt"), (".ckpt", ".safetensors")])
def test_one_model_in_two_formats(pair, files, compare):
    status, found = compare(*(files / f"right{suffix}" for suffix in pair))
    assert (status, found["same"]) == (0, True)
    assert found[
        "outcome"
    ] == f"the same model: all {len(initial_state(SMALL, 0))} tensors are " + ("identical")


def test_the_tensor_that_differs_most_is_named_first(files, tmp_path, compare):
    state = initial_state(SMALL, 0)
    paths = [tmp_path / "a.pth", tmp_path / "b.safetensors"]
    save_checkpoint(paths[0], Checkpoint(state, SMALL))
    other = {**state, "conv_stem.weight": state["conv_stem.weight"] * np.float32(1.001)}
    other[KEY] = state[KEY].copy()
    other[KEY].flat[3] += 1
    save_checkpoint(paths[1], Checkpoint(other, SMALL))
    status, found = compare(*paths)
    (_, tensors) = found["checks"]
    assert (status, found["same"]) == (1, False)
    assert [item["where"] for item in tensors["failures"]] == [KEY, "conv_stem.weight"]
    assert "by at most 1" in tensors["failures"][0]["note"]
    assert "2 of" in found["outcome"]
    assert KEY in found["outcome"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_checkpoint_and_its_onnx_file(framework, suffix, files, compare):
    status, found = compare(files / f"right-{framework}.onnx", files / f"right{suffix}")
    assert (status, found["same"], failed(found)) == (0, True, {})


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_onnx_file_of_which_a_tensor_is_off(framework, files, compare):
    status, found = compare(files / "right.pth", files / f"wrong-{framework}.onnx")
    assert (status, found["same"]) == (1, False)
    assert failed(found) == {"logits": "classifier", "tensors": KEY}
    assert f"most different is {KEY}" in found["outcome"]


def test_two_onnx_files(files, compare):
    right, wrong = ([files / f"{name}-{f}.onnx" for f in FRAMEWORKS] for name in ("right", "wrong"))
    assert compare(*right)[0] == 0
    status, found = compare(right[1], wrong[1])
    assert (status, failed(found)) == (1, {"logits": "classifier", "tensors": KEY})
    # One exporter folds batch norms into convolutions: their weights do not compare.
    status, found = compare(right[0], wrong[1])
    assert (status, failed(found)) == (1, {"logits": "classifier"})


def test_where_only_mindspore_is_installed(files, compare, monkeypatch):
    monkeypatch.setattr(compare_files, "_installed", lambda: ["mindspore"])
    assert compare(files / "right.ckpt", files / "right-torch.onnx")[0] == 0
    status, found = compare(files / "right.ckpt", files / "wrong-mindspore.onnx")
    assert (status, failed(found)) == (1, {"logits": "classifier", "tensors": KEY})


# What else files are


def test_two_nets(files, tmp_path, compare):
    spec = dataclasses.replace(SMALL, activation="relu6")
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, Checkpoint(initial_state(spec, 0), spec))
    for other in ("right.pth", "right-torch.onnx"):
        status, found = compare(path, files / other)
        assert (status, failed(found)) == (1, {"spec": "activation"})
        assert "differ in activation" in found["outcome"]


def test_other_preprocessing_is_another_model(files, tmp_path, compare):
    preprocessing = dataclasses.replace(SMALL.preprocessing, mean=(0.5, 0.5, 0.5))
    spec = dataclasses.replace(SMALL, preprocessing=preprocessing)
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, Checkpoint(sample_state(SMALL, 0, load_backend("torch")), spec))
    status, found = compare(path, files / "right.ckpt")
    assert (status, failed(found)) == (1, {"spec": "preprocessing"})


def test_a_file_that_does_not_say_what_it_is(files, tmp_path, compare):
    import torch

    state = sample_state(SMALL, 0, load_backend("torch"))
    path = tmp_path / "plain.pth"
    torch.save({key: torch.from_numpy(array) for key, array in state.items()}, path)
    assert compare(path, files / "right.safetensors")[0] == 0
    assert compare(path, files / "right-torch.onnx")[0] == 0
    # Nor does any shipped spec fit it.
    assert compare(path, path)[0] == 2


def test_a_file_of_another_shipped_net(files, tmp_path, compare):
    import torch

    spec = load_spec("tinynet_digits")
    path = tmp_path / "plain.pth"
    state = initial_state(spec, 0)
    torch.save({key: torch.from_numpy(array) for key, array in state.items()}, path)
    status, found = compare(path, files / "right.ckpt")
    assert (status, "stages" in found["outcome"]) == (1, True)


# Training checkpoints


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run in two formats, and one whose momentum of a tensor is off."""
    folder = tmp_path_factory.mktemp("runs")
    state = run_state("rmsprop", ema=True)
    for suffix in (".pth", ".ckpt"):
        save_training(folder / f"run{suffix}", state)
    momentum = {**state.slots["momentum"], KEY: state.slots["momentum"][KEY] * 2}
    other = dataclasses.replace(state, slots={**state.slots, "momentum": momentum})
    save_training(folder / "other.safetensors", other)
    save_checkpoint(folder / "weights.safetensors", Checkpoint(state.weights, SMALL))
    save_checkpoint(folder / "average.safetensors", Checkpoint(state.ema, SMALL))
    return folder


def test_a_run_in_two_formats(runs, compare):
    status, found = compare(runs / "run.pth", runs / "run.ckpt")
    compared = found["checks"][1]["compared"]
    assert (status, compared) == (0, len(run_state("rmsprop", ema=True).tensors))


def test_another_state_of_the_optimizer_is_another_run_but_the_same_model(runs, compare):
    status, found = compare(runs / "run.ckpt", runs / "other.safetensors")
    assert (status, failed(found)) == (1, {"tensors": f"optimizer.momentum.{KEY}"})
    assert found["outcome"].startswith("not the same run, but the same model: 1 of")
    assert compare(runs / "run.ckpt", runs / "other.safetensors", "--weights-only")[0] == 0


def test_a_run_and_its_weights(runs, compare):
    assert compare(runs / "run.pth", runs / "weights.safetensors")[0] == 0
    assert compare(runs / "run.pth", runs / "average.safetensors")[0] == 1


def test_the_average_of_a_run(runs, compare):
    status, found = compare(runs / "run.pth", runs / "run.ckpt", "--ema")
    assert (status, found["checks"][1]["compared"]) == (0, len(initial_state(SMALL, 0)))


# What cannot be said


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("right.pth", "."), "expected two of a kind"),
        (("right.pth", "no.ckpt"), "no.ckpt: No such file"),
        (("right.pth", "broken.onnx"), "broken.onnx: ONNX Runtime cannot load it"),
        (("right.pth", "broken.safetensors"), "broken.safetensors: cannot be read"),
        (("right.pth", "right.ckpt", "--report", "r"), "--report is for recordings"),
        (("right.pth", "right.ckpt", "--spec", "tinynet_e"), "which differs from tinynet_e in"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(names, message, files, compare, monkeypatch):
    monkeypatch.chdir(files)
    for name in ("broken.onnx", "broken.safetensors"):
        (files / name).write_bytes(b"nothing at all")
    status, err = compare(*names)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_what_a_person_reads(files, run_script):
    status, out, _ = run_script(
        "parity", "compare", files / "right.pth", files / "wrong.safetensors"
    )
    lines = out.splitlines()
    assert status == 1
    assert lines[0].startswith("not the same model: 1 of")
    assert lines[-1].split()[:2] == [KEY, "0.01"]
