"""Nets that were not chosen by hand: what holds for the family holds for every spec of a user.

On failure hypothesis looks for the smallest spec that fails, and prints it as JSON.
"""

import dataclasses
import itertools
import re
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, seed, settings
from torch.utils.flop_counter import FlopCounterMode

from tinynet.checkpoints.conversion import convert
from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.net.complexity import count, layers
from tinynet.net.manifest import TRAINED_ROLES, manifest, mindspore_keys
from tinynet.spec import (
    BatchNorm,
    Head,
    Preprocessing,
    Spec,
    Stage,
    Stem,
    format_spec,
    parse_spec,
)
from tinynet.utils.random_numbers import normal

import mindspore_impl.model
import torch_impl.model
from parity.candidates import candidates_of
from parity.report.text import format_report
from parity.suite import run_checks
from random_specs import nets, resnets, specs
from tiers import only_in_full

# Spread, so that several processes share them.
PARTS = 11


def weights(spec):
    """A state in which no two numbers are alike."""
    return {
        key: normal(entry.shape, key).astype(np.float32) for key, entry in manifest(spec).items()
    }


# What needs no answer


@pytest.mark.parametrize("part", only_in_full(range(PARTS), (0,)))
def test_any_spec_is_counted_built_and_converted(part, tmp_path):
    seen = set()

    @seed(part)
    @given(specs())
    def holds(spec):
        seen.add(spec.sha256)
        again = parse_spec(format_spec(spec))
        assert (again, again.sha256) == (spec, spec.sha256)
        state = weights(spec)
        as_torch = torch_impl.model.make_net(spec, state)
        check_torch(spec, as_torch, state)
        check_counts(spec, as_torch)
        check_mindspore(spec, mindspore_impl.model.make_net(spec, state), state)
        check_conversion(spec, state, tmp_path)

    holds()
    assert PARTS * len(seen) >= 500


def check_torch(spec, net, state):
    tensors = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert [(key, tuple(tensor.shape)) for key, tensor in tensors.items()] == [
        (key, entry.shape) for key, entry in manifest(spec).items()
    ]
    for key, tensor in tensors.items():
        assert tensor.dtype == torch.float32
        assert tensor.numpy().tobytes() == state[key].tobytes()
    assert [key for key, _ in net.named_parameters()] == trained(spec)


def check_mindspore(spec, net, state):
    names = mindspore_keys(spec)
    tensors = {parameter.name: parameter for parameter in net.get_parameters()}
    # Batch norm has its statistics before its weights there, so this order is not the manifest's.
    assert tensors.keys() == set(names.values())
    for key, entry in manifest(spec).items():
        array = tensors[names[key]].asnumpy()
        assert (array.shape, array.dtype) == (entry.shape, np.float32)
        assert array.tobytes() == state[key].tobytes()
    of_optimizer = [parameter.name for parameter in net.trainable_params()]
    assert of_optimizer == [names[key] for key in trained(spec)]


def trained(spec):
    return [key for key, entry in manifest(spec).items() if entry.role in TRAINED_ROLES]


def check_counts(spec, net):
    """Holds our layer table against what PyTorch says that a net computes.

    Nets as small as these are computed in a twentieth of the time in which the meta device, which
    is written in Python, works out their shapes.
    """
    shapes = {}

    def record(name):
        return lambda module, given, output: shapes.update({name: tuple(output.shape[1:])})

    table = {layer.key: layer for layer in layers(spec)}
    for name, module in net.eval().named_modules():
        if name in table:
            module.register_forward_hook(record(name))
    with torch.no_grad():
        net(torch.zeros(1, *spec.input_size))
    assert shapes == {key: layer.output_shape for key, layer in table.items()}
    macs = {
        name: module.weight[0].numel() * int(np.prod(shapes[name]))
        for name, module in net.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    }
    assert sum(macs.values()) == count(spec).macs
    assert sum(parameter.numel() for parameter in net.parameters()) == count(spec).params


def check_conversion(spec, state, folder):
    paths = [folder / name for name in ("a.safetensors", "b.pth", "c.ckpt", "d.safetensors")]
    save_checkpoint(paths[0], Checkpoint(state, spec))
    for source, destination in itertools.pairwise(paths):
        convert(source, destination)
    found = load_checkpoint(paths[-1])
    assert found.spec == spec
    assert list(found.state) == list(state)
    for key, array in state.items():
        assert found.state[key].dtype == np.float32
        assert found.state[key].shape == array.shape
        assert found.state[key].tobytes() == array.tobytes()


@settings(max_examples=settings.default.max_examples // 2)
@given(specs())
def test_pytorchs_own_counter_agrees(spec):
    net = torch_impl.model.make_net(spec).eval().to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, *spec.input_size, device="meta"))
    assert counter.get_total_flops() == 2 * count(spec).macs


# Answers and gradients

FORWARD = ("layers-isolated", "layers-chained", "logits")
BACKWARD = ("loss", "gradients-isolated", "gradients-chained", "statistics")
SAMPLES = 4


def assert_alike(spec, checks):
    """Runs some checks; a failure shows the net as a file that the command takes."""
    report = run_checks(
        spec, checks=checks, candidates=candidates_of(modes=["pynative"]), calibrations=None
    )
    assert all(check.comparisons for check in report.checks)
    if not report.passed:
        # Raised, since pytest indents what an assert says.
        text = f"{format_report(report)}\nfor parity.py --spec:\n{format_spec(spec)}"
        raise AssertionError(text)


@pytest.mark.parametrize("part", range(SAMPLES))
def test_any_spec_answers_and_learns_alike_in_both_twins(part):
    # Of fewer numbers than these a single rounding decides, in any framework.
    limits = {"least_side": 8, "most_side": 24, "least_channels": 4, "least_classes": 4}
    strategy = nets(**limits) | resnets(**limits)

    @seed(part)
    @settings(max_examples=max(3, settings.default.max_examples // 16))
    @given(strategy)
    def holds(spec):
        assert_alike(spec, FORWARD + BACKWARD)

    holds()


def wrong_eps():
    """A fault that the very smallest net, of a depthwise-separable block, does not show."""
    right = mindspore_impl.model.BLOCK_KINDS["ir"]

    def build(block, batch_norm, *settings):
        return right(block, dataclasses.replace(batch_norm, eps=1e-2), *settings)

    return mock.patch.dict(mindspore_impl.model.BLOCK_KINDS, ir=build)


@pytest.mark.full
def test_a_failure_shrinks_to_the_smallest_net_that_shows_it(tmp_path, run_script):
    ran = []

    @seed(1)
    @settings(report_multiple_bugs=False)
    @given(nets())
    def holds(spec):
        ran.append(spec)
        assert_alike(spec, ["layers-isolated"])

    path = tmp_path / "shrunk.json"
    command = ("parity", "--spec", path, "--checks", "layers-isolated", "--modes", "pynative")
    with wrong_eps():
        with pytest.raises(AssertionError) as caught:
            holds()
        shown = re.search(r"for parity.py --spec:\n(\{.*?^\})", str(caught.value), re.M | re.S)
        shrunk = parse_spec(shown[1])
        assert shrunk == Spec(
            name="random",
            input_size=(1, 1, 1),
            num_classes=1,
            activation="silu",
            batch_norm=BatchNorm(1e-5, 0.1),
            stem=Stem(1, 1, 1),
            stages=(Stage("ir", 1, 1, 1, 1, 1),),
            head=Head(1),
            preprocessing=Preprocessing((0.5,), (0.25,)),
        )
        assert max(len(spec.blocks()) for spec in ran) > 1
        # What is printed is a file for the command, which finds the fault in it.
        path.write_text(shown[1])
        assert run_script(*command)[0] == 1
    assert run_script(*command)[0] == 0
