"""What evaluate.py, classify.py and export.py refuse, in one line."""

import dataclasses
import json
import re
import shutil

import numpy as np
import onnx
import pytest

from tinynet.checkpoints.files import Checkpoint, save_checkpoint
from tinynet.checkpoints.training_state import initial_training_state, save_training_state
from tinynet.net.initialise import initial_state
from tinynet.recipe import load_recipe
from tinynet.spec import format_spec, load_spec

from tiny_net import TINY


@pytest.fixture
def place(tmp_path, weights, crops):
    """A folder with something wrong of each kind."""
    save_checkpoint(
        tmp_path / "e.safetensors",
        Checkpoint(initial_state(load_spec("tinynet_e"), 0), load_spec("tinynet_e")),
    )
    (tmp_path / "text.onnx").write_text("not a net")
    bare = onnx.load(weights["onnx"])
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    (tmp_path / "ten.json").write_text(format_spec(TINY.with_classes(10)))
    smaller = dataclasses.replace(TINY, input_size=(3, 30, 30))
    (tmp_path / "small.json").write_text(format_spec(smaller))
    infinite = onnx.load(weights["onnx"])
    for tensor in infinite.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.shape == (7,):
            poisoned = np.full_like(values, np.nan)
            tensor.CopyFrom(onnx.numpy_helper.from_array(poisoned, tensor.name))
    onnx.save(infinite, tmp_path / "nan.onnx")
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "b").mkdir(parents=True)
    shutil.copytree(crops, tmp_path / "text")
    (tmp_path / "text" / "d" / "2.jpg").write_text("not an image")
    shutil.copytree(crops, tmp_path / "eight")
    for label in "hijkl":
        shutil.copytree(crops / "b", tmp_path / "eight" / label)
    return tmp_path


# What of TINY's good arguments is replaced -> what the error must tell.
EVALUATE_ERRORS = {
    "no such weights": ({"--weights": "absent.safetensors"}, r"absent\.safetensors: No such file"),
    "no such onnx": ({"--framework": "onnx", "--weights": "absent.onnx"}, "no such file"),
    "no onnx file": ({"--framework": "onnx", "--weights": "text.onnx"}, "ONNX Runtime cannot load"),
    "not for twins": ({"--weights": "bare.onnx"}, r"bare\.onnx: unknown suffix"),
    "no spec": ({"--framework": "onnx", "--weights": "bare.onnx"}, "name one with --spec"),
    "unknown spec": ({"--spec": "tinynet_z"}, "tinynet_z: no such spec"),
    "another member": ({"--spec": "tinynet_c"}, "was made for tiny, which differs from tinynet_c"),
    "classes": ({"--spec": "ten.json"}, "has 7 classes, tiny has 10"),
    "onnx classes": (
        {"--framework": "onnx", "--weights": "bare.onnx", "--spec": "ten.json"},
        "gives 7 logits, expected 10",
    ),
    "onnx size": (
        {"--framework": "onnx", "--weights": "bare.onnx", "--spec": "small.json"},
        r"takes \[3, 32, 32\] \(C, H, W\), expected \[3, 30, 30\]",
    ),
    "onnx device": (
        {"--framework": "onnx", "--weights": "bare.onnx", "--device": "cuda"},
        'device is "cuda", expected "cpu"',
    ),
    "device": ({"--device": "ascend"}, "device is 'ascend', expected one of cpu, cuda"),
    "not finite": (
        {"--framework": "onnx", "--weights": "nan.onnx"},
        r"0\.png: .* NaN or an infinity",
    ),
    "no such data": ({"--data": "absent"}, "absent: no such folder"),
    "empty folder": ({"--data": "empty"}, "empty: empty folder"),
    "hollow class": ({"--data": "hollow"}, "hollow/b: class folder without images"),
    "text as image": ({"--data": "text"}, r"text/d/2\.jpg: not an image"),
    "unknown classes": ({"--data": "eight"}, 'eight: 5 class folders of 8 unknown .*"h"'),
    "batch size": ({"--batch-size": "0"}, "batch_size is 0"),
    "batch size text": ({"--batch-size": "many"}, "argument --batch-size: invalid int"),
    "workers": ({"--workers": "-1"}, "workers is -1"),
    "predictions": ({"--predictions": "absent/p.jsonl"}, "the folder absent does not exist"),
    "predictions folder": ({"--predictions": "empty"}, "empty: is a folder"),
}


@pytest.mark.parametrize("case", EVALUATE_ERRORS)
def test_evaluate_refuses(run_script, case, place, weights, crops, monkeypatch):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    changed, message = EVALUATE_ERRORS[case]
    good = {
        "--framework": "torch",
        "--weights": weights["torch"],
        "--data": crops,
        "--predictions": "p.jsonl",
    }
    arguments = [text for option in (good | changed).items() for text in option]
    status, out, err = run_script("evaluate", *arguments)
    assert (status, out) == (2, "")
    assert re.fullmatch(f"error: .*{message}.*\n", err)
    assert sorted(place.rglob("*")) == before


def test_a_failed_evaluation_keeps_the_predictions_of_before(run_script, place, weights):
    file = place / "p.jsonl"
    file.write_text("{}\n")
    status, _, _ = run_script(
        "evaluate",
        "--framework",
        "torch",
        "--weights",
        weights["torch"],
        "--predictions",
        file,
        "--data",
        place / "text",
        "--batch-size",
        1,
    )
    assert status == 2
    assert file.read_text() == "{}\n"


CLASSIFY_ERRORS = {
    "no such image": ("absent.jpg", "absent.jpg: no such file or folder"),
    "empty folder": ("empty", "empty: folder without images"),
    "text as image": ("text/d/2.jpg", r"text/d/2\.jpg: not an image"),
}


@pytest.mark.parametrize("case", CLASSIFY_ERRORS)
def test_classify_refuses(run_script, case, place, weights, crops, monkeypatch):
    monkeypatch.chdir(place)
    image, message = CLASSIFY_ERRORS[case]
    good = crops / "b" / "0.png"
    status, out, err = run_script("classify", good, image, "--weights", weights["torch"])
    assert (status, out) == (2, "")
    assert re.fullmatch(f"error: .*{message}.*\n", err)


def test_classify_refuses_what_is_not_finite(run_script, place, crops):
    status, out, err = run_script("classify", crops / "b", "--weights", place / "nan.onnx")
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: .*0\.png: .*NaN or an infinity\n", err)


EXPORT_ERRORS = {
    "no such weights": (("absent.safetensors", "o.onnx"), r"absent\.safetensors: No such file"),
    "suffix": (("e.safetensors", "o.pb"), r"expected a name that ends in \.onnx"),
    "no such folder": (("e.safetensors", "absent/o.onnx"), "the folder absent does not exist"),
    "another member": (("e.safetensors", "o.onnx", "--spec", "tinynet_c"), "made for tinynet_e"),
}


@pytest.mark.parametrize("case", EXPORT_ERRORS)
def test_export_refuses(run_script, case, place, monkeypatch):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    arguments, message = EXPORT_ERRORS[case]
    status, out, err = run_script("export", "--framework", "torch", "--weights", *arguments)
    assert (status, out) == (2, "")
    assert re.fullmatch(f"error: .*{message}.*\n", err)
    assert sorted(place.rglob("*")) == before


def test_a_missing_runtime_is_named_with_its_cure(run_script, weights, crops, monkeypatch):
    monkeypatch.setattr("tinynet.deploy.runtimes.find_spec", lambda name: None)
    status, out, err = run_script("classify", crops / "b", "--weights", weights["onnx"])
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: .*onnxruntime.*pip install 'tinynet-twins\[onnx\]'\n", err)


def test_a_training_checkpoint_is_evaluated_raw_or_averaged(run_script, tmp_path):
    spec = load_spec("tinynet_digits")
    recipe = load_recipe("digits")
    start = initial_training_state(spec, recipe, 0, 1437, "")
    averaged = {**start.ema, "classifier.bias": np.arange(10, dtype=np.float32) * 100}
    save_training_state(tmp_path / "run.safetensors", dataclasses.replace(start, ema=averaged))
    for option, expected in (((), False), (("--ema",), True)):
        status, out, _ = run_script(
            "evaluate",
            "--framework",
            "torch",
            "--weights",
            tmp_path / "run.safetensors",
            *option,
            "--data",
            "digits",
            "--json",
            "--predictions",
            tmp_path / "p.jsonl",
        )
        assert status == 0
        assert json.loads(out)["images"] == 360
        lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
        # The averaged net answers 9 whatever it sees.
        assert all(line["top5"][0] == 9 for line in lines) == expected
        assert lines[0]["file"].startswith("digits ")
