"""A folded net is its source, within the calibrated bound, wherever it runs."""

import json

import numpy as np
import pytest
import torch

from tinynet.backend import FRAMEWORKS, load_backend
from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.deploy import onnx_file
from tinynet.net.folding import fold_batch_norm, fold_exactly, folded_spec
from tinynet.net.manifest import StateError
from tinynet.spec import format_spec, list_specs, load_spec

from parity import inputs
from parity.candidates import BASELINE, Candidate
from parity.context import NOISE_SAMPLES
from parity.distances import compare_values
from parity.suite import run_checks
from parity.tolerances.calibration import DIRECTORY, find_calibration
from resnets import small_resnet
from tiers import only_in_full
from training_states import SMALL

LARGE = ("resnet34", "resnet50")  # as resnet18, only longer
NETS = [name for name in list_specs() if name not in LARGE]
QUICK = ("efficientnet_lite0", "tinynet_digits", "tinynet_e")
SMALL_NETS = [SMALL, small_resnet("basic"), small_resnet("bottleneck")]
FORWARD = (
    "spec",
    "parameters",
    "pixels",
    "layers-isolated",
    "layers-chained",
    "logits",
    "schedule",
    "metrics",
    "onnx",
    "checkpoints",
)


def logits(spec, state, pixels, precision="float32"):
    """Of the PyTorch twin; a state in float64 is not rounded."""
    single = {key: array.astype(np.float32) for key, array in state.items()}
    net = load_backend("torch").probe.build(spec, single, precision).eval()
    exact = {key: torch.from_numpy(array) for key, array in state.items()}
    net.load_state_dict(exact, strict=False)
    with torch.no_grad():
        return net(torch.from_numpy(pixels).to(getattr(torch, precision))).numpy()


def bound(setting, quantity, spec):
    return find_calibration(setting, DIRECTORY).bound(quantity, spec)


def assert_the_same(spec, modes):
    """Folds a net and holds what it answers everywhere against the net, in float64."""
    torch_twin, mindspore_twin = load_backend("torch"), load_backend("mindspore")
    state = inputs.sample_state(spec, 0, torch_twin)
    pixels = inputs.pixels(spec, 2, 0)
    truth = logits(spec, state, pixels, "float64")

    exact = logits(folded_spec(spec), fold_exactly(spec, state), pixels, "float64")
    assert np.linalg.norm(exact - truth) / np.linalg.norm(truth) < 1e-12

    samples = [inputs.jitter(pixels, sample, 0) for sample in range(1, NOISE_SAMPLES)]
    noise = [logits(spec, state, given) for given in (pixels, *samples)]
    folded, weights = fold_batch_norm(spec, state)
    found = {
        ("torch", "onnx", BASELINE): logits(folded, weights, pixels),
        # Which folds by itself.
        ("torch predictor", "onnx", BASELINE): torch_twin.predict.Predictor(spec, state)(pixels),
    }
    for mode in modes:
        predict = mindspore_twin.predict.Predictor(spec, state, mode=mode)
        found["mindspore predictor", "logits", Candidate("mindspore", mode)] = predict(pixels)
    for (name, quantity, candidate), given in found.items():
        limit = bound(candidate.setting, quantity, spec)
        comparison = compare_values(name, "logits", given, truth, noise, limit)
        assert comparison.passed, (str(candidate), comparison)


@pytest.mark.parametrize("spec", SMALL_NETS, ids=lambda spec: spec.name)
def test_small_nets_in_both_modes(spec):
    assert_the_same(spec, ("pynative", "graph"))


@pytest.mark.parametrize("name", only_in_full(NETS, QUICK))
def test_shipped_nets(name):
    assert_the_same(load_spec(name), ("pynative",))


MODES = [(name, mode) for name in FRAMEWORKS for mode in load_backend(name).predict.MODES]


@pytest.mark.parametrize("spec", SMALL_NETS, ids=lambda spec: spec.name)
@pytest.mark.parametrize(("framework", "mode"), MODES)
def test_a_predictor_folds_what_it_is_given_and_what_is_written_into_it(framework, mode, spec):
    twin = load_backend(framework)
    pixels = inputs.pixels(spec, 3, 0)
    states = [inputs.sample_state(spec, seed, load_backend("torch")) for seed in (0, 1)]
    predict = twin.predict.Predictor(spec, states[0], mode=mode)
    for state in states:
        predict.write(state)
        folded, weights = fold_batch_norm(spec, state)
        held = twin.model.read_state(predict.net)
        assert list(held) == list(weights)
        for key, array in weights.items():
            np.testing.assert_array_equal(held[key], array, err_msg=key)
        answers = predict(pixels)
        expected = twin.predict.Predictor(folded, weights, mode=mode)(pixels)
        np.testing.assert_array_equal(answers, expected)
        # Fewer images than before, of which none may take another's place.
        np.testing.assert_allclose(predict(pixels[:2]), answers[:2], rtol=1e-4, atol=1e-5)
    with pytest.raises(StateError, match="missing"):
        predict.write(weights)
    np.testing.assert_array_equal(predict(pixels), answers)


def ran(spec, state=None, checks=FORWARD):
    report = run_checks(spec, state, checks=checks)
    return report, {check.name: check for check in report.checks}


@pytest.mark.parametrize("spec", SMALL_NETS, ids=lambda spec: spec.name)
def test_a_folded_net_passes_the_suite(spec):
    report, checks = ran(folded_spec(spec))
    assert [name for name, check in checks.items() if not check.passed] == []
    assert not any(check.skipped for check in checks.values())
    assert report.passed
    places = {item.where for item in checks["layers-isolated"].comparisons}
    assert not any(".bn" in f".{place}" for place in places)
    assert any("conv" in place for place in places)


def test_what_has_no_batch_norm_is_not_trained():
    trained = (
        "loss",
        "gradients-isolated",
        "gradients-chained",
        "statistics",
        "optimizer",
        "ema",
        "trajectory",
        "resume",
    )
    _, checks = ran(folded_spec(SMALL), checks=("logits", *trained))
    assert {name for name, check in checks.items() if check.skipped} == set(trained)
    assert "for inference only" in checks["loss"].skipped


def test_both_exporters_write_it(tmp_path):
    spec, state = fold_batch_norm(SMALL, inputs.sample_state(SMALL, 0, load_backend("torch")))
    for framework in ("torch", "mindspore"):
        path = tmp_path / f"{framework}.onnx"
        assert onnx_file.export_checked(framework, spec, state, path) < 1e-4
        assert onnx_file.OnnxPredictor(path).spec == spec


# As a user does it


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.safetensors"
    save_checkpoint(path, Checkpoint(inputs.sample_state(SMALL, 0, load_backend("torch")), SMALL))
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
def test_deploy_and_compare(suffix, source, tmp_path, run_script):
    destination = tmp_path / f"deploy{suffix}"
    status, out, _ = run_script("deploy", source, destination, "--json")
    report = json.loads(out)
    assert (status, report["spec"], report["notes"]) == (0, "small", [])
    assert report["tensors"] == len(load_checkpoint(destination).state)
    status, out, _ = run_script("parity", "compare", source, destination)
    assert status == 0
    assert out.startswith("the same model: logits differ by")


def test_a_folded_file_and_an_onnx_file_of_its_source(source, tmp_path, run_script):
    folded, exported = tmp_path / "deploy.safetensors", tmp_path / "source.onnx"
    run_script("deploy", source, folded)
    assert run_script("export", "--framework", "torch", "--weights", source, exported)[0] == 0
    for pair in ((folded, exported), (exported, folded)):
        status, out, err = run_script("parity", "compare", *pair)
        assert (status, err) == (0, "")
        assert out.startswith("the same model: logits differ by")


def test_another_eps_in_folding_is_seen(source, tmp_path, run_script, monkeypatch):
    folded = tmp_path / "deploy.safetensors"
    right = np.sqrt
    monkeypatch.setattr("tinynet.net.folding.np.sqrt", lambda variance: right(variance + 1e-3))
    run_script("deploy", source, folded)
    monkeypatch.undo()
    status, out, _ = run_script("parity", "compare", source, folded)
    assert status == 1
    assert out.startswith("not the same model: logits differ by")


def test_it_is_refused_for_training(tmp_path, run_script):
    spec = tmp_path / "folded.json"
    spec.write_text(format_spec(folded_spec(load_spec("tinynet_digits"))))
    status, _, err = run_script(
        "train",
        "--framework",
        "torch",
        "--spec",
        spec,
        "--recipe",
        "digits",
        "--output",
        tmp_path / "run",
    )
    assert status == 2
    assert (
        err.strip()
        .splitlines()[-1]
        .startswith(
            "error: tinynet_digits: batch norm is folded into its convolutions, for inference only"
        )
    )
