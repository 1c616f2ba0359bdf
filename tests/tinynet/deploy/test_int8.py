"""INT8 files: what is in them, what they answer, and what evaluate says that it cost."""

import dataclasses
import json

import numpy as np
import onnx
import pytest

from tinynet.backend import load_backend
from tinynet.checkpoints.files import Checkpoint, save_checkpoint
from tinynet.data.evaluation_batches import Prepared
from tinynet.data.open_data import open_calibration, open_data
from tinynet.deploy import int8
from tinynet.deploy.int8 import QUANTIZATION, quantize
from tinynet.deploy.onnx_file import OnnxError, OnnxPredictor, export
from tinynet.net.folding import fold_batch_norm
from tinynet.net.manifest import classifier_keys
from tinynet.spec import load_spec
from tinynet.training.evaluation import evaluate

from parity import inputs
from resnets import small_resnet
from training_states import SMALL

# Not deep, so that untrained features tell digits apart.
DIGITS = dataclasses.replace(
    load_spec("tinynet_digits"),
    name="shallow",
    stages=load_spec("tinynet_digits").stages[:3],
    expected=None,
)


def drawn(spec):
    return inputs.sample_state(spec, 0, load_backend("torch"))


def correlation(before, after, pixels):
    return np.corrcoef(before(pixels).ravel(), after(pixels).ravel())[0, 1]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """An ONNX file of a net on digits: features drawn, a classifier solved for them."""
    path = tmp_path_factory.mktemp("digits") / "digits.onnx"
    spec, state = fold_batch_norm(DIGITS, drawn(DIGITS))
    train = Prepared(open_data("digits", spec).train, spec)
    pairs = [train[index] for index in range(len(train))]
    images, targets = np.stack([image for image, _ in pairs]), np.eye(10)[[y for _, y in pairs]]
    targets = targets - 0.1
    weight, bias = classifier_keys(spec)
    features = _features(spec, state, images)
    centred = features - features.mean(0)
    ridge = 1e-3 * len(images) * centred.var() * np.eye(features.shape[1])
    solved = np.linalg.solve(centred.T @ centred + ridge, centred.T @ targets).T
    state[weight] = (10 * solved).astype(np.float32)
    state[bias] = (-10 * solved @ features.mean(0)).astype(np.float32)
    save_checkpoint(path.with_suffix(".safetensors"), Checkpoint(state, spec))
    export("torch", spec, state, path)
    return path


def _features(spec, state, images):
    import torch

    net = load_backend("torch").model.make_net(spec, state).eval()
    with torch.no_grad():
        return net.global_pool(net.features(torch.from_numpy(images))).double().numpy()


@pytest.mark.parametrize("framework", ["torch", "mindspore"])
@pytest.mark.parametrize(
    "spec", [SMALL, small_resnet("basic"), small_resnet("bottleneck")], ids=lambda spec: spec.name
)
def test_files_of_both_exporters(framework, spec, tmp_path):
    source, destination = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export(framework, *fold_batch_norm(spec, drawn(spec)), source)
    pixels = inputs.pixels(spec, 16, 0)
    found = quantize(source, destination, [pixels[:10], pixels[10:]])
    before, after = OnnxPredictor(source), OnnxPredictor(destination)
    assert after.spec == before.spec
    assert found.images == 16
    assert 0 < found.difference < 0.3
    # Two images, one and three: the batch size is free.
    fresh = inputs.pixels(spec, 3, 1)
    assert correlation(before, after, fresh) > 0.95
    for images in (fresh[:1], fresh[:2]):
        np.testing.assert_allclose(after(images), after(fresh)[: len(images)], atol=1e-5)
    model = onnx.load(destination)
    properties = {item.key: item.value for item in model.metadata_props}
    assert {"tinynet_spec", "class_names", QUANTIZATION} <= set(properties)
    assert json.loads(properties[QUANTIZATION])["images"] == 16
    integers = [item.name for item in model.graph.initializer if item.data_type == 3]
    # All but the stem's and the first block's weights.
    blocks = len(spec.blocks())
    early = (spec.blocks()[0].key, spec.names.stem)
    assert [name for name in integers if name.startswith(early)] == []
    assert len(integers) > 2 * (blocks - 1)


def test_what_it_costs_on_labelled_images(digits, tmp_path, run_script):
    destination = tmp_path / "int8.onnx"
    status, out, _ = run_script("quantize", digits, destination, "--data", "digits", "--json")
    report = json.loads(out)
    assert (status, report["images"], report["spec"]) == (0, 256, "shallow")
    assert report["bytes"] < 0.8 * digits.stat().st_size  # of so small a net half is names
    status, out, _ = run_script(
        "evaluate",
        "--framework",
        "onnx",
        "--weights",
        destination,
        "--against",
        digits,
        "--data",
        "digits",
        "--json",
    )
    found = json.loads(out)
    assert (status, found["images"], found["against"]["images"]) == (0, 360, 360)
    assert found["against"]["top1"] > 90
    assert found["against"]["top1"] - found["top1"] < 3
    # What it says, counted by hand.
    validation = Prepared(open_data("digits", DIGITS).validation, DIGITS)
    answers = [evaluate(OnnxPredictor(path), validation, 32) for path in (digits, destination)]
    changed = (answers[0].top.classes[:, 0] != answers[1].top.classes[:, 0]).sum()
    assert found["against"]["changed"] == changed
    assert (found["against"]["top1"], found["top1"]) == (answers[0].top1, answers[1].top1)


def test_against_a_checkpoint_in_words(digits, run_script):
    status, out, _ = run_script(
        "evaluate",
        "--framework",
        "onnx",
        "--weights",
        digits,
        "--data",
        "digits",
        "--against",
        digits.with_suffix(".safetensors"),
    )
    lines = out.splitlines()
    assert (status, lines[0]) == (0, "shallow in ONNX Runtime, images: 360")
    assert lines[1].endswith("digits.safetensors in PyTorch")
    assert "+0.000" in lines[2]
    assert lines[-1] == "another answer for 0 of 360 images"


def test_ranges_that_no_image_showed_are_seen_in_the_answers(digits, tmp_path):
    """The planted fault: calibrated on images that are all grey."""
    pixels = inputs.pixels(DIGITS, 32, 0)
    quantize(digits, tmp_path / "right.onnx", [pixels])
    quantize(digits, tmp_path / "wrong.onnx", [np.full_like(pixels, pixels.mean())])
    before = OnnxPredictor(digits)
    right, wrong = (
        correlation(before, OnnxPredictor(tmp_path / f"{name}.onnx"), pixels)
        for name in ("right", "wrong")
    )
    assert right > 0.98
    assert wrong < 0.9


def test_calibration_looks_at_the_images_to_train_on():
    assert len(open_calibration("digits", DIGITS)) == len(open_data("digits", DIGITS).train) == 1437


def test_what_cannot_be_quantised(digits, tmp_path):
    pixels = inputs.pixels(DIGITS, 4, 0)
    with pytest.raises(OnnxError, match="there are no images to calibrate on"):
        quantize(digits, tmp_path / "a.onnx", [])
    with pytest.raises(OnnxError, match="is the source itself"):
        quantize(digits, digits, [pixels])
    quantize(digits, tmp_path / "b.onnx", [pixels])
    with pytest.raises(OnnxError, match=r"b.onnx: is quantised already"):
        quantize(tmp_path / "b.onnx", tmp_path / "c.onnx", [pixels])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.onnx"]


def test_a_failure_leaves_no_file(digits, tmp_path, monkeypatch):
    pixels = inputs.pixels(DIGITS, 4, 0)
    monkeypatch.setattr(int8.np, "isfinite", lambda values: np.zeros(1, bool))
    with pytest.raises(OnnxError, match=r"a.onnx: not written, since its logits hold a NaN"):
        quantize(digits, tmp_path / "a.onnx", [pixels])
    assert list(tmp_path.iterdir()) == []
