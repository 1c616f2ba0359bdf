"""The suite on small ResNets, the definition against PyTorch, and a fault that is traced."""

import numpy as np
import pytest

from tinynet.backend import load_backend
from tinynet.checkpoints.files import load_checkpoint
from tinynet.spec import load_spec

from parity import inputs
from parity.candidates import candidates_of
from parity.checks import CHECKS
from parity.checks.non_smooth import BATCHES, over_batches
from parity.context import Context
from parity.faults.planting import SPECS
from parity.reference.net import ReferenceNet
from parity.reference.structure import NET
from parity.results import Comparison, Series
from parity.suite import run_checks
from resnets import small_resnet
from tiers import only_in_full

KINDS = ("basic", "bottleneck")
CHEAP = ("spec", "parameters", "layers-isolated", "layers-chained", "logits", "onnx")


@pytest.mark.parametrize("kind", KINDS)
def test_the_definition_is_pytorchs_float64(kind):
    spec, twin = small_resnet(kind), load_backend("torch")
    state = inputs.sample_state(spec, 0, twin)
    x, labels = inputs.pixels(spec, 4, 0), inputs.labels(spec, 4, 0)
    flow = twin.probe.flow(twin.probe.build(spec, state, precision="float64"), x, labels)
    upstream = flow["fc"].gradient
    run = ReferenceNet(spec, state).run(NET, x, lambda output: upstream, training=True)
    assert list(run.layers)[:-1] == list(flow)
    for name, layer in flow.items():
        np.testing.assert_allclose(run.layers[name].output, layer.output, atol=1e-10)
        np.testing.assert_allclose(run.layers[name].gradient, layer.gradient, atol=1e-10)


@pytest.mark.parametrize("kind", only_in_full(KINDS, ("basic",)))
def test_every_check_passes_in_both_modes(kind):
    report = run_checks(small_resnet(kind))
    assert [check.name for check in report.checks] == list(CHECKS)
    assert report.passed


@pytest.mark.full
def test_graph_mode_alone_resumes_as_it_ran():
    candidates = candidates_of(modes=("graph",))
    assert run_checks(small_resnet("basic"), checks=("resume",), candidates=candidates).passed


# A gradient that is off by chance, and one that always is


def found_gradients(context):
    """A comparison of one gradient, farther off than its bound on the first batch only."""
    error = 1.0 if context.seed < FIRST_SEEDS else 1e-6
    yield Comparison("mindspore pynative", "conv1.weight", error, 2e-3, 1e-3)


FIRST_SEEDS = 10


def a_context(kind, folder):
    candidates = candidates_of(modes=("pynative",))
    return Context(SPECS[kind], None, 3, candidates, folder, None)


def test_a_rounding_past_a_kink_is_looked_at_on_other_batches(tmp_path):
    (item,) = over_batches(found_gradients)(a_context("basic", tmp_path))
    assert item.error == 1e-6
    # Without a kink nothing is chance.
    (item,) = over_batches(found_gradients)(a_context("small", tmp_path))
    assert item.error == 1.0


def test_a_gradient_that_is_always_wrong_stays_wrong(tmp_path):
    ran = []

    def always(context):
        ran.append(context.seed)
        yield Comparison("mindspore pynative", "conv1.weight", 1.0, 2e-3, 1e-3)

    (item,) = over_batches(always)(a_context("basic", tmp_path))
    assert not item.passed
    assert len(set(ran)) == BATCHES


def test_bits_that_differ_are_no_chance(tmp_path):
    def once(context):
        # A comparison of bits has no noise.
        yield Comparison("torch eager", "conv1.weight", float(context.seed < FIRST_SEEDS), 0.0, 0.0)
        yield Comparison("torch eager", "loss of step 1", 1.0, 2e-3, 1e-3)
        yield Series("torch eager", (1.0, 0.5))

    bits, loss, series = sorted(
        over_batches(once)(a_context("basic", tmp_path)), key=lambda item: type(item).__name__
    )
    assert (bits.where, bits.error, loss.error) == ("conv1.weight", 1.0, 1.0)
    assert series.values == (1.0, 0.5)


@pytest.mark.full
def test_resnet18_passes_the_checks_of_inference():
    candidates = candidates_of(modes=("pynative",))
    assert run_checks(load_spec("resnet18"), checks=CHEAP, candidates=candidates).passed


@pytest.mark.parametrize("kind", KINDS)
def test_a_projection_that_is_scaled_is_found(kind, monkeypatch):
    blocks = load_backend("mindspore").blocks
    right = blocks.Downsample.construct
    monkeypatch.setattr(blocks.Downsample, "construct", lambda net, x: 1.01 * right(net, x))
    candidates = candidates_of(modes=("pynative",))
    report = run_checks(small_resnet(kind), checks=("layers-isolated",), candidates=candidates)
    assert not report.passed
    first = {"basic": "layer2.0.downsample", "bottleneck": "layer1.0.downsample"}[kind]
    assert first in {item.where for item in report.checks[0].failures}
    traced = report.divergence
    assert (traced.where, traced.file) == (first, "mindspore_impl/blocks.py")
    assert traced.definition == "Downsample"


def test_a_state_dict_of_torchvision_loads(tmp_path):
    import torch

    spec = small_resnet("basic")
    net = load_backend("torch").model.make_net(spec)
    state_dict = net.state_dict()
    assert "bn1.num_batches_tracked" in state_dict
    torch.save(state_dict, tmp_path / "net.pth")
    found = load_checkpoint(tmp_path / "net.pth", spec).state
    assert all(np.array_equal(found[key], state_dict[key].numpy()) for key in found)
