"""What torchvision saved loads unchanged, and both twins answer as torchvision does."""

import functools
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from tinynet.backend import load_backend
from tinynet.checkpoints.files import load_checkpoint
from tinynet.spec import load_spec

from parity.candidates import BASELINE, candidates_of
from parity.tolerances.calibration import find_calibration
from parity.tolerances.quantities import whole_quantity

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((FOLDER / "torchvision_logits.json").read_text())["logits"]
KEYS = json.loads((FOLDER / "torchvision_keys.json").read_text())
MAKER = runpy.run_path(str(FOLDER / "make_timm_logits.py"))
PYNATIVE, GRAPH = candidates_of()
EXACT = 1e-11  # both in float64: only the order of summation may differ


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The state of a net, as the project reads it from a file by torch.save."""
    folder = tmp_path_factory.mktemp("torchvision")

    @functools.cache
    def load(name):
        path, spec = folder / f"{name}.pth", load_spec(name)
        state, saved = MAKER["golden_state"](spec), {}
        for key in KEYS[name]:
            saved[key] = torch.tensor(state[key])
            if key.endswith("running_var"):
                saved[key.replace("running_var", "num_batches_tracked")] = torch.tensor(7)
        torch.save(saved, path)
        return load_checkpoint(path, spec).state

    return load


def first_logits(framework, spec, state, **how):
    twin = load_backend(framework)
    net = twin.probe.build(spec, state, **how)
    trace = twin.probe.trace(net, MAKER["golden_images"](spec))
    return trace["fc"].output[0]


@pytest.mark.parametrize("name", GOLDEN)
def test_torch_answers_as_torchvision(name, loaded):
    golden = GOLDEN[name]
    logits = first_logits("torch", load_spec(name), loaded(name), precision="float64")
    first = logits[: len(golden["first"])]
    assert np.abs(first - golden["first"]).max() < EXACT * golden["rms"]
    assert math.isclose(np.sqrt(np.mean(logits**2)), golden["rms"], rel_tol=EXACT)


@pytest.mark.parametrize("candidate", [BASELINE, PYNATIVE], ids=str)
@pytest.mark.parametrize("name", GOLDEN)
def test_float32_is_within_the_calibrated_bound_of_torchvision(name, candidate, loaded):
    spec, golden = load_spec(name), GOLDEN[name]
    calibration = find_calibration(candidate.setting)
    assert calibration is not None
    bound = calibration.bound(whole_quantity("logits", spec), spec)
    assert spec.sha256 in calibration.noise.noise  # calibrated, and not held to a limit
    limit = bound.factor * bound.noise(golden["noise"], "fc")
    assert limit < 1e-4  # far below what a wrong eps or stride would do
    logits = first_logits(candidate.framework, spec, loaded(name))
    found = logits[: len(golden["first"])].astype(np.float64)
    difference = np.sqrt(np.mean((found - golden["first"]) ** 2))
    assert difference < limit * golden["rms"]


def test_graph_mode_answers_as_torchvision(loaded):
    spec, golden = load_spec("resnet18"), GOLDEN["resnet18"]
    twin = load_backend(GRAPH.framework)
    predict = twin.predict.Predictor(spec, loaded("resnet18"), mode=GRAPH.mode)
    logits = predict(MAKER["golden_images"](spec))[0].astype(np.float64)
    assert np.abs(logits[: len(golden["first"])] - golden["first"]).max() < 1e-5 * golden["rms"]
