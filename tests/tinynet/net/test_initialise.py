import dataclasses
import hashlib
import math

import numpy as np
import pytest
from scipy import stats

from tinynet.net.complexity import layers
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import manifest
from tinynet.spec import load_spec

SPEC = load_spec("tinynet_e")
STATE = initial_state(SPEC, seed=0)


def test_order_dtype_and_shapes():
    assert list(STATE) == list(manifest(SPEC))
    for key, entry in manifest(SPEC).items():
        assert (STATE[key].shape, STATE[key].dtype) == (entry.shape, np.float32)
        assert STATE[key].flags.c_contiguous


def test_the_same_bits_for_ever():
    digest = hashlib.sha256()
    for key, array in STATE.items():
        digest.update(key.encode() + array.astype("<f4").tobytes())
    assert digest.hexdigest() == "df452942286a818b149c0bfedd9df3094986f42f2e10c06a07f76070396ee03e"


def test_batch_norm_starts_as_the_identity_and_biases_at_zero():
    start = {"bn_weight": 1, "bn_bias": 0, "bn_mean": 0, "bn_var": 1}
    start |= {"conv_bias": 0, "linear_bias": 0}
    for key, entry in manifest(SPEC).items():
        if entry.role in start:
            assert (STATE[key] == start[entry.role]).all(), key
        else:
            assert entry.role in ("conv_weight", "linear_weight")


# Of fan-out k * k * out_channels / groups, by hand.
@pytest.mark.parametrize(
    ("key", "fan_out"),
    [
        ("conv_stem.weight", 9 * 32),
        ("blocks.0.0.conv_dw.weight", 9),
        ("blocks.0.0.se.conv_reduce.weight", 8),
        ("blocks.0.0.se.conv_expand.weight", 32),
        ("blocks.0.0.conv_pw.weight", 8),
        ("blocks.2.0.conv_dw.weight", 25),
        ("blocks.6.0.conv_pwl.weight", 160),
        ("conv_head.weight", 1280),
    ],
)
def test_the_spread_of_convolutions(key, fan_out):
    values = STATE[key].astype(np.float64).ravel()
    # A sample's standard deviation strays by 1 / sqrt(2 n); five times that is one in a million.
    ratio = values.std() / math.sqrt(2 / fan_out)
    assert abs(ratio - 1) < 5 / math.sqrt(2 * values.size), ratio


def test_every_convolution_is_normal():
    for layer in layers(SPEC):
        if layer.op == "conv2d":
            fan_out = layer.kernel_size**2 * layer.out_channels / layer.groups
            values = STATE[f"{layer.key}.weight"].ravel() * math.sqrt(fan_out / 2)
            # 70 layers at 1e-6: this seed, and all but one seed in ten thousand, passes.
            assert stats.kstest(values, "norm").pvalue > 1e-6, layer.key


def test_the_classifier_is_uniform():
    values = STATE["classifier.weight"].ravel() * math.sqrt(SPEC.num_classes)
    assert stats.kstest(values, "uniform", args=(-1, 2)).pvalue > 1e-6
    assert np.abs(values).max() <= 1


def drawn(state):
    roles = {key: entry.role for key, entry in manifest(SPEC).items()}
    return {k: v for k, v in state.items() if roles[k] in ("conv_weight", "linear_weight")}


def test_no_two_tensors_are_alike():
    seen = {}
    for seed in (0, 1):
        for key, array in drawn(initial_state(SPEC, seed)).items():
            start = array.ravel()[:72]
            # Scaled, since two tensors with different fan-outs would hide the same stream.
            start = tuple(np.round(start / start[0], 4))
            assert start not in seen, (seed, key, seen.get(start))
            seen[start] = (seed, key)


def test_tensors_are_uncorrelated():
    values = [array.ravel() for array in drawn(STATE).values() if array.size >= 2000]
    assert len(values) > 15
    matrix = np.corrcoef(np.stack([array[:2000] for array in values]))
    off_diagonal = matrix[~np.eye(len(values), dtype=bool)]
    assert np.abs(off_diagonal).max() < 6 / math.sqrt(2000)


def test_a_changed_layer_leaves_all_others_as_they_were():
    stages = list(SPEC.stages)
    stages[2] = dataclasses.replace(stages[2], kernel_size=7)
    other = initial_state(dataclasses.replace(SPEC, stages=tuple(stages)), seed=0)
    changed = [key for key in STATE if not np.array_equal(STATE[key], other[key])]
    assert changed == ["blocks.2.0.conv_dw.weight"]


def test_each_call_gives_arrays_of_its_own():
    first, second = initial_state(SPEC, 0), initial_state(SPEC, 0)
    assert not any(np.shares_memory(first[key], second[key]) for key in first)
    first["bn1.weight"][:] = 7
    assert (second["bn1.weight"] == 1).all()
    arrays = list(second.values())
    assert len({array.ctypes.data for array in arrays}) == len(arrays)


def test_another_seed_gives_another_state():
    other = drawn(initial_state(SPEC, seed=1))
    assert not any(np.array_equal(array, other[key]) for key, array in drawn(STATE).items())
