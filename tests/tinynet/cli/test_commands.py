"""evaluate, classify and export as their users run them, in every runtime."""

import json
import math
import shutil
import zipfile

import numpy as np
import onnx
import pytest

from tinynet.backend import load_backend
from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.data.labels import class_names, wordnet_ids
from tinynet.data.preprocessing import load_input
from tinynet.deploy import onnx_file
from tinynet.deploy.onnx_file import OPSET, OnnxPredictor, export
from tinynet.net.manifest import classifier_keys
from tinynet.spec import parse_spec
from tinynet.training.evaluation import top_classes
from tinynet.utils.random_numbers import normal

import mindspore_impl.export
from tiny_net import LITE0, LITE0_SPEC, RUNTIMES, SKIMAGE, SKLEARN, TINY, TINY_STATE, TWINS

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


@pytest.fixture(scope="module")
def photographs(folder):
    for file, (source, shown, _) in PHOTOGRAPHS.items():
        place = folder / "photographs" / wordnet_ids()[NAMES.index(shown)]
        place.mkdir(parents=True)
        shutil.copy(source / file, place)
    return folder / "photographs"


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
