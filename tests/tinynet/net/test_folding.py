"""Batch norm folded into convolutions, held against the definition of a net in float64."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinynet.checkpoints.files import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from tinynet.checkpoints.training_state import save_training_state
from tinynet.deploy.fold import deploy
from tinynet.net.complexity import count, layers
from tinynet.net.folding import FoldingError, fold_batch_norm, fold_exactly, folded_spec
from tinynet.net.manifest import StateError, manifest
from tinynet.recipe import RecipeError, load_recipe, training_spec
from tinynet.spec import SpecError, format_spec, list_specs, load_spec, parse_spec

from parity.reference.net import ReferenceNet
from parity.reference.structure import NET
from random_specs import nets
from resnets import small_resnet
from training_states import SMALL, run_state

# Of float64 twice. What is off by one rounding of float32 is at 6e-8.
LARGEST_ERROR = 1e-12


def drawn_state(spec, seed=0):
    """A state in which every batch norm moves, scales and shifts."""
    rng = np.random.default_rng(seed)
    state = {}
    for key, entry in manifest(spec).items():
        values = rng.uniform(0.5, 2.0, entry.shape)
        if entry.role in ("conv_weight", "linear_weight"):
            values = rng.normal(size=entry.shape) / np.sqrt(np.prod(entry.shape[1:]))
        elif entry.role != "bn_var":
            values *= rng.choice([-1, 1], entry.shape)
        state[key] = values.astype(np.float32)
    return state


def distance(spec, state, folded):
    """Relative distance of the logits of a folded state, in float64, from those of its net."""
    pixels = np.random.default_rng(1).normal(size=(2, *spec.input_size))
    truth = ReferenceNet(spec, state).run(NET, pixels).output
    found = ReferenceNet(folded_spec(spec), folded).run(NET, pixels).output
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


NETS = [SMALL, small_resnet("basic"), small_resnet("bottleneck"), load_spec("tinynet_digits")]


@pytest.mark.parametrize("spec", NETS, ids=lambda spec: spec.name)
def test_the_same_function(spec):
    state = drawn_state(spec)
    assert distance(spec, state, fold_exactly(spec, state)) < LARGEST_ERROR


@given(nets(most_side=16), st.integers(0, 99))
def test_the_same_function_for_random_specs(spec, seed):
    state = drawn_state(spec, seed)
    error = distance(spec, state, fold_exactly(spec, state))
    assume(np.isfinite(error))  # a net of ReLU6 may be dead, and of zeros nothing is a share
    assert error < LARGEST_ERROR


def test_it_is_rounded_once():
    state = drawn_state(SMALL)
    spec, folded = fold_batch_norm(SMALL, state)
    exact = fold_exactly(SMALL, state)
    assert list(folded) == list(manifest(spec))
    for key, array in folded.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, exact[key].astype(np.float32), err_msg=key)
        if key in state and ".se." in key:
            np.testing.assert_array_equal(array, state[key], err_msg=key)


def without_eps(spec, state):
    return fold_exactly(
        dataclasses.replace(spec, batch_norm=dataclasses.replace(spec.batch_norm, eps=1e-30)), state
    )


def with_variance_for_deviation(spec, state):
    squared = {k: v**2 if k.endswith(".running_var") else v for k, v in state.items()}
    return fold_exactly(spec, squared)


def with_another_bias(spec, state):
    return fold_exactly(
        spec, {**state, "blocks.0.0.bn1.bias": state["blocks.0.0.bn1.running_mean"]}
    )


def without_the_last(spec, state):
    found = fold_exactly(spec, state)
    return {**found, "bn2.bias": found["conv_head.bias"], "conv_head.bias": state["bn2.bias"]}


@pytest.mark.parametrize(
    "fault", [without_eps, with_variance_for_deviation, with_another_bias, without_the_last]
)
def test_a_fault_in_folding_is_seen(fault):
    state = drawn_state(SMALL)
    assert distance(SMALL, state, fault(SMALL, state)) > 1e4 * LARGEST_ERROR


@pytest.mark.parametrize("name", list_specs())
def test_what_is_left_of_every_shipped_spec(name):
    spec = load_spec(name)
    folded = folded_spec(spec)
    norms = [layer for layer in layers(spec) if layer.op == "batch_norm"]
    before, after = count(spec), count(folded)
    assert norms
    assert after.macs == before.macs
    # Of scale and shift one is left.
    assert before.params - after.params == sum(layer.out_channels for layer in norms)
    assert not any(".running_" in key for key in manifest(folded))
    convs = [key for key, entry in manifest(folded).items() if entry.role == "conv_weight"]
    assert all(f"{key.removesuffix('weight')}bias" in manifest(folded) for key in convs)


def test_its_spec_is_a_document_like_any_other():
    folded = folded_spec(load_spec("tinynet_c"))
    assert json.loads(format_spec(folded))["batch_norm"] is None
    assert parse_spec(format_spec(folded)) == folded
    assert (folded.derivation, folded.expected) == (None, None)
    assert folded.sha256 != load_spec("tinynet_c").sha256


def test_null_is_the_only_other_batch_norm():
    document = json.loads(format_spec(SMALL)) | {"batch_norm": 0}
    with pytest.raises(
        SpecError,
        match="batch_norm is 0, expected an object with eps and momentum"
        ", or null where it is folded",
    ):
        parse_spec(json.dumps(document))


def test_it_is_folded_once():
    spec, state = fold_batch_norm(SMALL, drawn_state(SMALL))
    with pytest.raises(FoldingError, match="small: has no batch norm, it is folded already"):
        fold_batch_norm(spec, state)


def test_what_folds_to_infinity_is_refused():
    state = drawn_state(SMALL)
    state["bn1.weight"] = np.full_like(state["bn1.weight"], 3e38)
    with pytest.raises(StateError, match=r"folded state: .*conv_stem.bias holds a NaN or an inf"):
        fold_batch_norm(SMALL, state)


def test_it_cannot_be_trained():
    expected = "small: batch norm is folded into its convolutions, for inference only"
    with pytest.raises(RecipeError, match=expected):
        training_spec(folded_spec(SMALL), load_recipe("imagenet"))


# The job


@pytest.fixture
def run_path(tmp_path):
    """A training checkpoint with weights and averages that differ."""
    path = tmp_path / "run.safetensors"
    save_training_state(path, run_state("rmsprop", ema=True))
    return path


def test_a_training_checkpoint_is_deployed_by_its_averages(run_path, tmp_path):
    state = run_state("rmsprop", ema=True)
    written = deploy(run_path, tmp_path / "averaged.safetensors")
    expected = fold_batch_norm(state.progress.spec, state.ema)[1]
    for key, array in load_checkpoint(tmp_path / "averaged.safetensors").state.items():
        np.testing.assert_array_equal(array, expected[key], err_msg=key)
    assert "left aside: raw weights" in written.notes[0]
    deploy(run_path, tmp_path / "raw.safetensors", raw=True)
    raw = load_checkpoint(tmp_path / "raw.safetensors").state
    expected = fold_batch_norm(state.progress.spec, state.weights)[1]
    np.testing.assert_array_equal(raw["conv_stem.weight"], expected["conv_stem.weight"])


def test_a_file_of_weights_has_one_set(tmp_path):
    source, destination = tmp_path / "source.safetensors", tmp_path / "deploy.safetensors"
    save_checkpoint(source, Checkpoint(drawn_state(SMALL), SMALL))
    deploy(source, destination)
    found = load_checkpoint(destination)
    assert found.spec == folded_spec(SMALL)
    assert found.source == "deploy.safetensors"
    np.testing.assert_array_equal(
        found.state["conv_head.bias"],
        fold_batch_norm(SMALL, drawn_state(SMALL))[1]["conv_head.bias"],
    )


def test_what_is_no_source_of_it(tmp_path):
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_checkpoint(path, Checkpoint(drawn_state(SMALL), SMALL))
    with pytest.raises(CheckpointError, match="is the source itself"):
        deploy(path, path)
    deploy(path, other)
    with pytest.raises(FoldingError, match=r"b.safetensors: small: has no batch norm"):
        deploy(other, tmp_path / "c.safetensors")
    assert not (tmp_path / "c.safetensors").exists()


def test_the_spec_of_the_net_that_was_trained_is_not_that_of_the_folded_one(tmp_path):
    path = tmp_path / "deploy.safetensors"
    save_checkpoint(path, Checkpoint(*reversed(fold_batch_norm(SMALL, drawn_state(SMALL)))))
    with pytest.raises(CheckpointError, match="differs from small in batch_norm"):
        load_checkpoint(path, SMALL)
