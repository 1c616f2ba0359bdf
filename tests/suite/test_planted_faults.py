"""The suite is itself tested: faults are planted, and the parity command must find each.

Every fault is planted in memory, in the code or data that a real one would sit in, and must make
the command fail on the expected rung and name the right place.
"""

import contextlib
import dataclasses
import json
from unittest import mock

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from torch import nn as torch_nn

import tinynet.derive
import tinynet.manifest
from tinynet.spec import format_spec, load_spec

import mindspore_impl.blocks
import mindspore_impl.export
import mindspore_impl.model
import mindspore_impl.probe
import mindspore_impl.state
import parity.keys
import parity.rungs.family
import torch_impl.blocks
import torch_impl.model

# Small, but with all that can be wrong: a skip, an even input, strides, both kernel sizes.
SMALL = dataclasses.replace(
    load_spec("tinynet_e").with_classes(10),
    name="small",
    input_size=(3, 32, 32),
    stem=tinynet.spec.Stem(3, 2, 8),
    stages=(
        tinynet.spec.Stage("ds", 1, 3, 1, 1, 8, 0.25),
        tinynet.spec.Stage("ir", 2, 5, 2, 3, 16, 0.25),
    ),
    head=tinynet.spec.Head(32),
)
UNEVEN = dataclasses.replace(SMALL, name="uneven", padding="same")


def plant(target, name, value):
    return mock.patch.object(target, name, value)


def in_model_and_blocks(name, value):
    """A builder that model.py imported from blocks.py by name."""
    stack = contextlib.ExitStack()
    for module in (mindspore_impl.blocks, mindspore_impl.model):
        stack.enter_context(plant(module, name, value))
    return stack


def swapped_batch_norm_leaves():
    leaves = tinynet.manifest.MINDSPORE_LEAVES
    swapped = {**leaves, "bn_weight": leaves["bn_bias"], "bn_bias": leaves["bn_weight"]}
    return plant(tinynet.manifest, "MINDSPORE_LEAVES", swapped)


def wrong_eps():
    def batch_norm(channels, settings):
        return nn.BatchNorm2d(channels, eps=1e-3, momentum=1 - settings.momentum)

    return in_model_and_blocks("batch_norm", batch_norm)


def same_padding():
    def conv2d(
        in_channels, out_channels, kernel_size=1, stride=1, padding=(), groups=1, bias=False
    ):
        return nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, group=groups, has_bias=bias
        )

    return in_model_and_blocks("conv2d", conv2d)


def inverted_momentum():
    def batch_norm(channels, settings):
        return nn.BatchNorm2d(channels, eps=settings.eps, momentum=settings.momentum)

    return in_model_and_blocks("batch_norm", batch_norm)


def squeeze_from_expanded_channels():
    right = mindspore_impl.blocks.squeeze_excite

    def squeeze_excite(block, activation_name):
        squeezed = round(block.mid_channels * 0.25)
        return right(dataclasses.replace(block, se_channels=squeezed), activation_name)

    return plant(mindspore_impl.blocks, "squeeze_excite", squeeze_excite)


def missing_skip():
    right = mindspore_impl.blocks.InvertedResidual

    def without_skip(block, *settings):
        return right(dataclasses.replace(block, has_skip=False), *settings)

    return mock.patch.dict(mindspore_impl.model.BLOCK_KINDS, ir=without_skip)


def depth_rounded_up():
    # EfficientNet's rule; TinyNets round to nearest.
    def round_repeats(repeats, depth):
        return int(np.ceil(repeats * depth))

    return plant(tinynet.derive, "round_repeats", round_repeats)


def relu_for_silu():
    return in_model_and_blocks("activation", lambda name: nn.ReLU())


def relu_for_silu_in_the_judge():
    stack = contextlib.ExitStack()
    for module in (torch_impl.blocks, torch_impl.model):
        stack.enter_context(plant(module, "activation", lambda name: torch_nn.ReLU()))
    return stack


def transposed_classifier():
    right = mindspore_impl.model.write_state

    def write_state(net, state):
        weight = state["classifier.weight"]
        right(net, {**state, "classifier.weight": weight.T.reshape(weight.shape)})

    return plant(mindspore_impl.model, "write_state", write_state)


def channels_swapped_in_the_net():
    right = mindspore_impl.model.TinyNet.construct
    return plant(mindspore_impl.model.TinyNet, "construct", _SwapChannels(right))


class _SwapChannels:
    def __init__(self, construct):
        self.construct = construct

    def __get__(self, net, owner):
        return lambda x: self.construct(net, ms.Tensor(x.asnumpy()[:, ::-1].copy()))


def channels_swapped_in_the_pixel_path():
    right = parity.rungs.family.preprocess
    return plant(
        parity.rungs.family, "preprocess", lambda image, spec: right(image, spec)[::-1].copy()
    )


def missing_block():
    right = mindspore_impl.model.BLOCK_KINDS["ir"]

    def build(block, *settings):
        return nn.Identity() if block.has_skip else right(block, *settings)

    return mock.patch.dict(mindspore_impl.model.BLOCK_KINDS, ir=build)


def smoothing_over_the_other_classes():
    # The official loss: s / (K - 1) on the wrong classes, 1 - s on the true one.
    def cross_entropy(logits, labels, label_smoothing=0.0):
        classes = logits.shape[1]
        log_probabilities = ops.log_softmax(logits, 1)
        of_label = ops.gather_elements(log_probabilities, 1, labels[:, None]).mean()
        share = label_smoothing / (classes - 1)
        of_all = log_probabilities.mean() * classes
        return -(1.0 - label_smoothing - share) * of_label - share * of_all

    return plant(mindspore_impl.probe, "cross_entropy", cross_entropy)


class _CutGate(nn.Cell):
    def construct(self, x):
        return ops.stop_gradient(ops.sigmoid(x))


def gradient_cut_at_the_gates():
    return plant(mindspore_impl.blocks.nn, "Sigmoid", _CutGate)


def half_precision_in_the_file():
    right = mindspore_impl.state.save_native

    def save_native(path, state, spec, metadata):
        # Not the canonical tensors any more, so the file's checksum is none the wiser.
        rounded = {k: v.astype(np.float16).astype(np.float32) for k, v in state.items()}
        right(path, rounded, spec, metadata)

    return plant(mindspore_impl.state, "save_native", save_native)


def uneven_padding_as_mindspore_exports_it():
    return plant(mindspore_impl.export, "_reorder_pads", lambda model: None)


FAULTS = [
    # fault, spec, rung, place
    (swapped_batch_norm_leaves, SMALL, "layers-isolated", "bn1"),
    (wrong_eps, SMALL, "layers-isolated", "bn1"),
    (same_padding, SMALL, "layers-isolated", "conv_stem"),
    (inverted_momentum, SMALL, "statistics", "bn1.running_mean"),
    (squeeze_from_expanded_channels, SMALL, "parameters", "blocks.1.0.se.conv_reduce.weight"),
    (missing_skip, SMALL, "layers-isolated", "blocks.1.1"),
    (missing_block, SMALL, "parameters", "blocks.1.1.conv_pw.weight"),
    (depth_rounded_up, load_spec("tinynet_e"), "spec", "stages[1].repeats"),
    (relu_for_silu, SMALL, "layers-isolated", "act1"),
    (relu_for_silu_in_the_judge, SMALL, "layers-isolated", "act1"),
    (transposed_classifier, SMALL, "parameters", "classifier.weight"),
    (channels_swapped_in_the_net, SMALL, "pixels", "input of conv_stem"),
    (channels_swapped_in_the_pixel_path, SMALL, "pixels", "test card"),
    (smoothing_over_the_other_classes, SMALL, "loss", "loss"),
    (gradient_cut_at_the_gates, SMALL, "gradients-isolated", "blocks.1.1.se.conv_expand.bias"),
    (uneven_padding_as_mindspore_exports_it, UNEVEN, "onnx", "classifier"),
    (half_precision_in_the_file, SMALL, "checkpoints", "whole file"),
]


@pytest.mark.parametrize("spec", [SMALL, UNEVEN], ids=lambda spec: spec.name)
def test_without_a_fault_the_command_passes(spec, tmp_path, run_script):
    status, found = _run(spec, tmp_path, run_script)
    assert found["first_divergence"] is None
    assert found["passed"]
    assert status == 0


@pytest.mark.parametrize(("fault", "spec", "rung", "place"), FAULTS, ids=lambda v: _name(v))
def test_a_planted_fault_is_found_and_named(fault, spec, rung, place, tmp_path, run_script):
    with fault():
        # Compiling graphs takes most of the time, and no fault here is one of a graph alone.
        status, found = _run(spec, tmp_path, run_script, "--fail-fast", "--modes", "pynative")
    assert status == 1
    assert not found["passed"]
    first = found["first_divergence"]
    assert (first["rung"], first["where"]) == (rung, place)


def _run(spec, folder, run_script, *options):
    path = folder / f"{spec.name}.json"
    path.write_text(format_spec(spec))
    status, out, _ = run_script("parity", "--spec", path, "--json", *options)
    return status, json.loads(out)


def _name(value):
    return getattr(value, "__name__", None)
