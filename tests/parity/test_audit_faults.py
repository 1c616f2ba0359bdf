"""What an audit would find: faults planted in operators, formulas planted in blocks."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

import torch_impl.blocks
import torch_impl.loss
import torch_impl.probe.operators
from parity.audit.formulas import NONE
from parity.audit.run import audit

# Enough for a vector and a tail.
FEW = (1, 2, 3, 5, 8, 9)
INSIDE = "eps inside the root, mean square from 1"
OUTSIDE = "eps outside the root, mean square from 1"


def rows(found):
    return {(row.operator, row.quantity): row for row in found.rows}


class Half(nn.Module):
    def forward(self, x):
        return nn.functional.silu(x.half()).float()


class BiasedVariance(nn.BatchNorm2d):
    def forward(self, x):
        before = self.running_var.clone()
        y = super().forward(x)
        count = x.numel() // x.shape[1]
        batch = (self.running_var - (1 - self.momentum) * before) * (count - 1) / count
        self.running_var.data.copy_((1 - self.momentum) * before + batch)
        return y


class WithoutTail(nn.Module):
    def forward(self, x):
        whole = x.shape[3] // 4 * 4 or x.shape[3]
        return x[:, :, :, :whole].mean((2, 3))


def swapped_padding(in_channels, out_channels, kernel_size, stride, padding, groups, bias=False):
    top, bottom, left, right = padding
    swapped = bottom, top, right, left
    return CONV2D(in_channels, out_channels, kernel_size, stride, swapped, groups, bias)


def smoothing_by_one_class_less(logits, labels, label_smoothing):
    classes = logits.shape[1]
    return CROSS_ENTROPY(logits, labels, label_smoothing * classes / max(classes - 1, 1))


class EpsBehind(torch_impl.optim.RMSProp):
    @torch.no_grad()
    def forward(self, gradients, learning_rate):
        s = self.settings
        for p, g, q, m in zip(self.trained, gradients, *self.slots.values(), strict=True):
            g = g + s.weight_decay * p
            q.lerp_(g * g, 1 - s.decay)
            m.mul_(s.momentum).addcdiv_(g, q.sqrt() + s.eps, value=learning_rate)
            p.sub_(m)


class Late(torch_impl.optim.Average):
    def forward(self, share):
        super().forward(share * 1.01)


CONV2D, CROSS_ENTROPY = torch_impl.blocks.conv2d, torch_impl.loss.cross_entropy
BLOCKS, OPERATORS_FILE = torch_impl.blocks, torch_impl.probe.operators

# operator -> the results that a fault must move, and the fault
FAULTS = {
    "SiLU": ({"y", "dx"}, BLOCKS, "activation", lambda name: Half()),
    "batch norm in training": (
        {"running_var"},
        BLOCKS,
        "batch_norm",
        lambda channels, settings: BiasedVariance(channels, settings.eps, settings.momentum),
    ),
    "mean": ({"y", "dx"}, BLOCKS, "GlobalAveragePool", WithoutTail),
    "convolution 3x3 stride 2 uneven": ({"y", "dx", "dweight"}, BLOCKS, "conv2d", swapped_padding),
    "cross entropy": ({"y", "dx"}, torch_impl.loss, "cross_entropy", smoothing_by_one_class_less),
    "RMSProp": (
        {"parameter", "momentum"},
        OPERATORS_FILE,
        "OPTIMIZERS",
        {"rmsprop": EpsBehind},
    ),
    "average": ({"average"}, OPERATORS_FILE, "Average", Late),
}


@pytest.mark.parametrize("operator", FAULTS)
def test_a_planted_fault_raises_its_rows_and_no_others(operator):
    moved, module, name, fault = FAULTS[operator]
    before = rows(audit("torch", sizes=FEW, operators=[operator]))
    with mock.patch.object(module, name, fault):
        after = rows(audit("torch", sizes=FEW, operators=[operator]))
    assert {quantity for _, quantity in after} >= moved
    for key, row in after.items():
        if key[1] in moved:
            assert row.largest > 100 * before[key].largest
        else:
            assert row.largest <= 2 * before[key].largest


def test_a_result_that_is_not_finite_is_infinitely_far():
    class Overflow(nn.Module):
        def forward(self, x):
            return x / (x - x.flatten()[-1])

    with mock.patch.object(BLOCKS, "activation", return_value=Overflow()):
        found = audit("torch", sizes=(2,), operators=["SiLU"])
    assert found.rows[0].largest == math.inf


def stock_rmsprop(in_block):
    """A kernel that has eps outside the root where ``in_block`` says so, inside it elsewhere."""

    def kernel(settings, parameters, gradients, learning_rate, device):
        results = []
        for start, *steps in zip(parameters, *gradients, strict=True):
            behind = np.array([in_block(i, len(start)) for i in range(len(start))])
            p, q, m = (np.array(v, np.float32) for v in (start, start + 1, start))
            for g in steps:
                q = np.float32(settings.decay) * q + np.float32(1 - settings.decay) * g * g
                eps = np.float32(settings.eps)
                root = np.where(behind, np.sqrt(q) + eps, np.sqrt(q + eps))
                m = np.float32(settings.momentum) * m + np.float32(learning_rate) * g / root
                p = p - m
            results.append(p)
        return results

    return mock.patch.object(torch_impl.probe.operators, "run_stock_optimizer", kernel)


def planted_pattern(in_block):
    name = "stock RMSProp in five steps"
    with stock_rmsprop(in_block):
        return audit("torch", operators=[name]).patterns[name]


@pytest.mark.parametrize("block", [2, 4, 5, 16])
def test_planted_blocks_are_found(block):
    pattern = planted_pattern(lambda i, n: i < n // block * block)
    assert (pattern.kind, pattern.length) == ("whole blocks", block)
    assert list(pattern.positions) == [OUTSIDE, INSIDE]


def test_a_planted_period_and_planted_disorder_are_found():
    pattern = planted_pattern(lambda i, n: i % 4 == 3)
    assert (pattern.kind, pattern.length) == ("period", 4)
    assert planted_pattern(lambda i, n: (i * n) % 5 == 2).kind == "irregular"


def test_a_formula_that_is_no_candidate_is_named_as_such():
    def none(settings, parameters, gradients, learning_rate, device):
        return [np.full_like(parameter, 0.1) for parameter in parameters]

    with mock.patch.object(torch_impl.probe.operators, "run_stock_optimizer", none):
        found = audit("torch", operators=["stock SGD in five steps"])
    assert str(found.patterns["stock SGD in five steps"]) == NONE
    assert found.rows[0].largest > 1e4


def test_operators_and_sizes_do_not_change_each_others_numbers():
    alone = rows(audit("torch", sizes=FEW, operators=["mean"]))
    beside = rows(audit("torch", sizes=FEW, operators=["SiLU", "mean"]))
    assert beside.items() >= alone.items()
