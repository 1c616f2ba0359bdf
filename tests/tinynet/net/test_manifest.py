import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinynet.net.initialise import initial_state
from tinynet.net.manifest import (
    Entry,
    StateError,
    check_state,
    drop_classifier,
    manifest,
    mindspore_keys,
)
from tinynet.spec import Stage, list_specs, load_spec

from random_specs import specs

SPEC = dataclasses.replace(
    load_spec("tinynet_e"),
    name="tiny",
    input_size=(3, 16, 16),
    num_classes=5,
    labels=None,
    stages=(
        Stage("ds", 1, 3, 1, 1, 8, 0.25),
        Stage("ir", 1, 5, 2, 2, 4, None),
    ),
    head=dataclasses.replace(load_spec("tinynet_e").head, out_channels=6),
    derivation=None,
    expected=None,
)


@pytest.fixture
def state():
    return initial_state(SPEC, seed=3)


# What a checkpoint contains


def test_every_tensor_of_a_small_net():
    vector = {"weight": "bn_weight", "bias": "bn_bias"}
    vector |= {"running_mean": "bn_mean", "running_var": "bn_var"}

    def batch_norm(key, channels):
        return {f"{key}.{leaf}": Entry((channels,), role) for leaf, role in vector.items()}

    expected = {
        "conv_stem.weight": Entry((32, 3, 3, 3), "conv_weight"),
        **batch_norm("bn1", 32),
        "blocks.0.0.conv_dw.weight": Entry((32, 1, 3, 3), "conv_weight"),
        **batch_norm("blocks.0.0.bn1", 32),
        "blocks.0.0.se.conv_reduce.weight": Entry((8, 32, 1, 1), "conv_weight"),
        "blocks.0.0.se.conv_reduce.bias": Entry((8,), "conv_bias"),
        "blocks.0.0.se.conv_expand.weight": Entry((32, 8, 1, 1), "conv_weight"),
        "blocks.0.0.se.conv_expand.bias": Entry((32,), "conv_bias"),
        "blocks.0.0.conv_pw.weight": Entry((8, 32, 1, 1), "conv_weight"),
        **batch_norm("blocks.0.0.bn2", 8),
        "blocks.1.0.conv_pw.weight": Entry((16, 8, 1, 1), "conv_weight"),
        **batch_norm("blocks.1.0.bn1", 16),
        "blocks.1.0.conv_dw.weight": Entry((16, 1, 5, 5), "conv_weight"),
        **batch_norm("blocks.1.0.bn2", 16),
        "blocks.1.0.conv_pwl.weight": Entry((4, 16, 1, 1), "conv_weight"),
        **batch_norm("blocks.1.0.bn3", 4),
        "conv_head.weight": Entry((6, 4, 1, 1), "conv_weight"),
        **batch_norm("bn2", 6),
        "classifier.weight": Entry((5, 6), "linear_weight"),
        "classifier.bias": Entry((5,), "linear_bias"),
    }
    assert list(manifest(SPEC).items()) == list(expected.items())


def test_only_the_leaves_of_batch_norm_differ_in_mindspore():
    leaves = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    for name in list_specs():
        names = mindspore_keys(load_spec(name))
        assert list(names) == list(manifest(load_spec(name)))
        for key, native in names.items():
            module, _, leaf = key.rpartition(".")
            last = module.rpartition(".")[2]
            is_batch_norm = last.startswith("bn") or module.endswith(".downsample.1")
            assert native == (f"{module}.{leaves[leaf]}" if is_batch_norm else key)
        assert len(set(names.values())) == len(names)


# Holding a state against it


def problem(state):
    with pytest.raises(StateError) as caught:
        check_state(state, SPEC, "w.safetensors")
    assert "\n" not in str(caught.value)
    prefix = "w.safetensors: does not fit tiny: "
    assert str(caught.value).startswith(prefix)
    return str(caught.value).removeprefix(prefix)


def test_a_state_that_fits_comes_back_in_order(state):
    shuffled = dict(sorted(state.items(), reverse=True))
    checked = check_state(shuffled, SPEC, "w")
    assert list(checked) == list(manifest(SPEC))
    assert all(checked[key] is state[key] for key in state)


def test_missing_keys(state):
    del state["bn1.weight"]
    assert problem(state) == "missing 1 key (bn1.weight)"
    del state["conv_stem.weight"]
    assert problem(state) == "missing 2 keys (conv_stem.weight, bn1.weight)"
    assert problem({}) == (
        f"missing {len(manifest(SPEC))} keys (conv_stem.weight, bn1.weight, bn1.bias, "
        "bn1.running_mean, bn1.running_var, blocks.0.0.conv_dw.weight, "
        f"and {len(manifest(SPEC)) - 6} more)"
    )


def test_unexpected_keys(state):
    state["bn1.num_batches_tracked"] = np.zeros((), np.int64)
    assert problem(state) == "unexpected 1 key (bn1.num_batches_tracked)"


def test_a_renamed_key_is_both_missing_and_unexpected(state):
    state["bn1.gamma"] = state.pop("bn1.weight")
    assert problem(state) == "missing 1 key (bn1.weight); unexpected 1 key (bn1.gamma)"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classifier.bias", np.zeros(4, np.float32), "has shape (4,), expected (5,)"),
        ("classifier.weight", np.zeros((6, 5), np.float32), "has shape (6, 5), expected (5, 6)"),
        ("classifier.bias", np.zeros((5, 1), np.float32), "has shape (5, 1), expected (5,)"),
        ("bn1.weight", np.ones(32), "is float64, expected float32"),
        ("bn1.weight", np.ones(32, np.float16), "is float16, expected float32"),
        ("bn1.running_var", np.full(32, np.nan, np.float32), "holds a NaN or an infinity"),
        ("bn1.running_var", np.full(32, -np.inf, np.float32), "holds a NaN or an infinity"),
    ],
)
def test_a_wrong_tensor(state, key, value, message):
    state[key] = value
    assert problem(state) == f"{key} {message}"


def test_one_nan_among_many_numbers(state):
    state["classifier.weight"][2, 3] = np.nan
    assert problem(state) == "classifier.weight holds a NaN or an infinity"


def test_all_problems_are_listed_and_long_lists_are_shortened(state):
    broken = {key: array.astype(np.float64) for key, array in state.items()}
    del broken["bn1.bias"]
    message = problem(broken)
    assert message.startswith("missing 1 key (bn1.bias); conv_stem.weight is float64, expected")
    assert message.endswith(f"; and {len(state) - 6} more")


# Fine-tuning


def test_another_classifier_and_nothing_else(state):
    ten = SPEC.with_classes(10)
    with pytest.raises(StateError, match=r"classifier.weight has shape \(5, 6\), expected \(10,"):
        check_state(state, ten, "w")
    initial = initial_state(ten, seed=9)
    tuned = check_state(drop_classifier(state, initial, ten), ten, "w")
    for key in tuned:
        origin = initial if key.startswith("classifier.") else state
        assert tuned[key] is origin[key]
    assert state["classifier.bias"].shape == (5,)


@given(specs(), st.integers(0))
def test_the_initial_state_fits_any_spec(spec, seed):
    check_state(initial_state(spec, seed), spec, "w")
