"""TinyNet in both frameworks: names, counts, shapes, answers."""

import dataclasses
import functools
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from tinynet.backend import FRAMEWORKS, load_backend
from tinynet.net.complexity import count, layers
from tinynet.net.manifest import (
    TRAINED_ROLES,
    StateError,
    drop_classifier,
    manifest,
    mindspore_keys,
)
from tinynet.spec import Head, Stem, list_specs, load_spec

from random_specs import nets

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((FOLDER / "timm_logits.json").read_text())["logits"]
MAKER = runpy.run_path(str(FOLDER / "make_timm_logits.py"))
golden_state, golden_images = functools.cache(MAKER["golden_state"]), MAKER["golden_images"]

# In units of the logits' root mean square. The parity suite measures each net's own noise;
# here a flat bound, four to eight times what the worst net of this file shows (torch 1.2e-6,
# mindspore 1.5e-5), tells wrong from right.
FLOAT32_BOUND = {"torch": 1e-5, "mindspore": 6e-5}


@functools.cache
def built(framework, spec):
    return load_backend(framework).probe.build(spec, golden_state(spec))


def answer(framework, spec, images, net=None, mode=None):
    """Logits in evaluation mode, as the predictors compute them."""
    net = built(framework, spec) if net is None else net
    modes = load_backend(framework).predict
    return call(framework, net, images, mode or modes.MODES[0])


def call(framework, function, images, mode):
    """A net, or one of its methods, from NumPy to NumPy in evaluation mode."""
    net = getattr(function, "__self__", function)
    with load_backend(framework).predict.running(mode):
        if framework == "torch":
            import torch

            net.eval()
            with torch.no_grad():
                return function(torch.tensor(images, dtype=net.classifier.weight.dtype)).numpy()
        import mindspore

        net.set_train(False)
        return function(mindspore.Tensor(images)).asnumpy()


def exact(spec, images):
    """The reference: the PyTorch twin in float64."""
    net = load_backend("torch").probe.build(spec, golden_state(spec), precision="float64")
    return answer("torch", spec, images, net)


def error(found, truth):
    return np.abs(found - truth).max() / np.sqrt(np.mean(truth**2))


def batch(spec, size=4):
    return MAKER["normal"]((size, *spec.input_size), "batch").astype(np.float32)


# Names


@pytest.mark.parametrize("name", list_specs())
def test_parameters_are_named_as_in_timm(name):
    spec = load_spec(name)
    net = built("torch", spec)
    found = {
        key: tuple(tensor.shape)
        for key, tensor in net.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert found == {key: entry.shape for key, entry in manifest(spec).items()}
    trained = {key for key, entry in manifest(spec).items() if entry.role in TRAINED_ROLES}
    assert {key for key, _ in net.named_parameters()} == trained
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("name", list_specs())
def test_mindspore_differs_in_the_leaves_of_batch_norm_only(name):
    spec = load_spec(name)
    names, entries = mindspore_keys(spec), manifest(spec)
    net = built("mindspore", spec)
    found = {key: tuple(parameter.shape) for key, parameter in net.parameters_and_names()}
    assert found == {names[key]: entry.shape for key, entry in entries.items()}
    # Files and optimizers go by Parameter.name: it must be the place in the net.
    assert {parameter.name for parameter in net.get_parameters()} == set(names.values())
    trained = {names[key] for key, entry in entries.items() if entry.role in TRAINED_ROLES}
    assert {parameter.name for parameter in net.trainable_params()} == trained


@pytest.mark.parametrize("name", list_specs())
def test_the_twins_trace_the_same_layers(name):
    spec = load_spec(name)
    torch, mindspore = (load_backend(f).probe.layer_names(built(f, spec)) for f in FRAMEWORKS)
    assert torch == mindspore
    assert {layer.key for layer in layers(spec)} < set(torch)


# Counts


@pytest.mark.parametrize("name", list_specs())
def test_counted_by_pytorch(name):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    spec = load_spec(name)
    # On the meta device, where nothing is computed: a counter that shares no code with ours.
    net = load_backend("torch").model.make_net(spec, golden_state(spec)).eval().to("meta")
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, *spec.input_size, device="meta"))
    assert counter.get_total_flops() == 2 * count(spec).macs
    assert sum(parameter.numel() for parameter in net.parameters()) == count(spec).params


@pytest.mark.parametrize("name", list_specs())
def test_counted_by_mindspore(name):
    spec = load_spec(name)
    parameters = built("mindspore", spec).trainable_params()
    assert sum(parameter.size for parameter in parameters) == count(spec).params


# Answers


@pytest.mark.parametrize("name", GOLDEN)
def test_torch_answers_as_timm(name):
    spec, golden = load_spec(name), GOLDEN[name]
    logits = exact(spec, golden_images(spec))[0]
    # Both in float64: only the order of summation may differ.
    first = logits[: len(golden["first"])]
    assert np.abs(first - golden["first"]).max() < 1e-11 * golden["rms"]
    assert math.isclose(np.sqrt(np.mean(logits**2)), golden["rms"], rel_tol=1e-11)


@pytest.mark.parametrize("name", GOLDEN)
def test_mindspore_answers_as_timm(name):
    spec, golden = load_spec(name), GOLDEN[name]
    logits = answer("mindspore", spec, golden_images(spec))[0]
    differences = logits[: len(golden["first"])] - golden["first"]
    assert np.abs(differences).max() < FLOAT32_BOUND["mindspore"] * golden["rms"]


# Specs that were not chosen by hand; tests/backends/test_random_specs.py has more of them


@settings(max_examples=6)
@given(nets())
def test_every_layer_has_the_shape_that_was_counted(spec):
    for framework in FRAMEWORKS:
        trace = load_backend(framework).probe.trace(built(framework, spec), batch(spec))
        for layer in layers(spec):
            assert trace[layer.key].output.shape == (4, *layer.output_shape), layer.key


@settings(max_examples=3)  # it compiles each
@given(nets())
def test_graph_mode_answers_as_pynative(spec):
    images = batch(spec)
    pynative = answer("mindspore", spec, images, mode="pynative")
    graph = answer("mindspore", spec, images, mode="graph")
    np.testing.assert_array_equal(graph, pynative)


# Batch norm while training


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("momentum", [0.01, 0.1, 1.0])
def test_running_statistics_move_towards_the_batch_by_the_momentum(framework, momentum):
    spec = dataclasses.replace(
        SMALL, batch_norm=dataclasses.replace(SMALL.batch_norm, momentum=momentum)
    )
    twin = load_backend(framework)
    net = twin.probe.build(spec, golden_state(spec))
    images = batch(spec)
    moved = twin.probe.gradients(net, images, np.zeros(4, np.int64)).statistics
    stem = twin.probe.isolated(net, {"conv_stem": images})["conv_stem"].astype(np.float64)
    old = golden_state(spec)
    for leaf, of_batch in [
        ("running_mean", stem.mean((0, 2, 3))),
        ("running_var", stem.var((0, 2, 3), ddof=1)),
    ]:
        expected = (1 - momentum) * old[f"bn1.{leaf}"] + momentum * of_batch
        np.testing.assert_allclose(moved[f"bn1.{leaf}"], expected, rtol=1e-5, atol=1e-6)


# Feature extraction, fine-tuning, other sizes

SMALL = dataclasses.replace(
    load_spec("tinynet_e").with_classes(6),
    name="small",
    input_size=(3, 17, 20),
    stem=Stem(3, 2, 8),
    stages=tuple(
        dataclasses.replace(stage, repeats=1, out_channels=8)
        for stage in load_spec("tinynet_e").stages[:3]
    ),
    head=Head(25),
)
SAME = dataclasses.replace(SMALL, name="small_same", padding="same", activation="relu6")
both = pytest.mark.parametrize("framework", FRAMEWORKS)


@both
@pytest.mark.parametrize("spec", [SMALL, SAME], ids=["symmetric", "same"])
def test_features_are_what_the_classifier_sees(framework, spec):
    net = built(framework, spec)
    features = call(framework, net.features, batch(spec), load_backend(framework).predict.MODES[0])
    assert features.shape == (4, spec.head.out_channels, *spec.blocks()[-1].out_size)
    state = golden_state(spec)
    logits = features.mean((2, 3)) @ state["classifier.weight"].T + state["classifier.bias"]
    assert error(answer(framework, spec, batch(spec)), logits) < 1e-5


@both
def test_another_number_of_classes_needs_a_classifier_dropped_on_request(framework):
    twin = load_backend(framework)
    thousand = SMALL.with_classes(1000)
    ten = SMALL.with_classes(10)
    net = twin.model.TinyNet(ten)
    before = twin.model.read_state(net)
    width = SMALL.head.out_channels
    message = (
        "state: does not fit small: "
        f"classifier.weight has shape (1000, {width}), expected (10, {width}); "
        "classifier.bias has shape (1000,), expected (10,)"
    )
    for attempt in (
        lambda: twin.model.write_state(net, golden_state(thousand)),
        lambda: twin.model.TinyNet(ten, golden_state(thousand)),
    ):
        with pytest.raises(StateError) as caught:
            attempt()
        assert str(caught.value) == message
    after = twin.model.read_state(net)
    assert all(np.array_equal(after[key], before[key]) for key in before)

    twin.model.write_state(net, drop_classifier(golden_state(thousand), before, ten))
    tuned = twin.model.read_state(net)
    for key in tuned:
        origin = before if key.startswith("classifier.") else golden_state(thousand)
        assert np.array_equal(tuned[key], origin[key]), key
    mode = twin.predict.MODES[0]
    old = built(framework, thousand)
    np.testing.assert_array_equal(
        call(framework, net.features, batch(ten), mode),
        call(framework, old.features, batch(ten), mode),
    )
    assert answer(framework, ten, batch(ten), net).shape == (4, 10)


MODES = [
    (framework, mode) for framework in FRAMEWORKS for mode in load_backend(framework).predict.MODES
]


@pytest.mark.parametrize(("framework", "mode"), MODES)
def test_same_padding_refuses_another_input_size(framework, mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MindSpore writes about a compilation that failed
    for height, width in [(18, 20), (17, 19), (20, 17)]:
        images = np.zeros((1, 3, height, width), np.float32)
        with pytest.raises(ValueError, match="small_same: input is") as caught:
            answer(framework, SAME, images, mode=mode)
        assert f"expected {SAME.input_size[1:]}" in str(caught.value).replace("\n", " ")
    # It is no worse for the refusal.
    assert answer(framework, SAME, batch(SAME), mode=mode).shape == (4, 6)


@both
def test_symmetric_padding_takes_any_input_size(framework):
    for size in [(18, 20), (5, 40), (33, 33)]:
        other = dataclasses.replace(SMALL, input_size=(3, *size))
        images = batch(other)
        found = answer(framework, SMALL, images)
        assert error(found, exact(other, images)) < FLOAT32_BOUND[framework]


@pytest.mark.parametrize("twin", FRAMEWORKS)
def test_the_mode_must_be_known(twin):
    running = load_backend(twin).predict.running
    with pytest.raises(ValueError, match="mode is 'fast', expected one of"), running("fast"):
        pass


@both
def test_a_class_of_the_other_family_says_what_to_call(framework):
    model = load_backend(framework).model
    for made, name in ((model.TinyNet, "resnet18"), (model.ResNet, "tinynet_e")):
        with pytest.raises(ValueError, match=rf"^{name}: is a \w+, expected .*make_net\(spec\)"):
            made(load_spec(name))
