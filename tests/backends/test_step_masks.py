"""Masks of dropout and drop-path in a step, and pixels on the way to it."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from tinynet.backend import load_backend
from tinynet.data.loader import TrainingBatch
from tinynet.data.preprocessing import preprocess
from tinynet.data.sampling import Sample
from tinynet.spec import Preprocessing

from steps import (
    PIXELS,
    PLAIN,
    RECIPE,
    SKIPS,
    SPEC,
    TRAINED,
    array,
    batch_of,
    both,
    part,
    started,
    train_step,
)


def scaled(place, factor):
    """A state in which the last batch norm of a block has all its answers times a factor."""
    block = SPEC.blocks()[place]
    norm = f"{block.key}.bn{3 if block.kind == 'ir' else 2}"
    state = dict(started().weights)
    for leaf in ("weight", "bias"):
        # A bias that is seen: it starts at zero.
        state[f"{norm}.{leaf}"] = (state[f"{norm}.{leaf}"] + np.float32(0.5)) * np.float32(factor)
    return state


def logits(framework, state, pixels, dropout=None, drop_path=None):
    net = load_backend(framework).model.TinyNet(SPEC, state)
    arrays = (pixels, dropout, drop_path)
    if framework == "torch":
        with torch.no_grad():
            return net.eval()(*(None if a is None else torch.tensor(a) for a in arrays)).numpy()
    import mindspore as ms

    net.set_train(False)
    return net(*(None if a is None else ms.Tensor(a) for a in arrays)).asnumpy()


@both
@pytest.mark.parametrize("place", range(len(SPEC.blocks())))
def test_drop_path_scales_the_branch_of_its_block(framework, place):
    # Factors 0, 1 and 2, a sample each, are what scaling the branch's last layer does to all.
    factors = np.ones((3, len(SPEC.blocks())), np.float32)
    factors[:, place] = [0, 1, 2]
    found = logits(framework, scaled(place, 1), PIXELS, drop_path=factors)
    for sample, factor in enumerate([0, 1, 2]):
        # Without a skip the branch is all there is, and stays.
        state = scaled(place, factor if place in SKIPS else 1)
        expected = logits(framework, state, PIXELS)[sample]
        np.testing.assert_allclose(found[sample], expected, rtol=1e-4, atol=2e-6)
    if place in SKIPS:
        plain = logits(framework, scaled(place, 1), PIXELS)
        assert np.abs(found - plain)[[0, 2]].max(1).min() > 1e-4


def test_the_net_here_has_both_kinds_of_blocks():
    assert SKIPS == [0, 2]
    assert {SPEC.blocks()[place].kind for place in SKIPS} == {"ds", "ir"}


@both
def test_dropout_scales_the_pooled_features(framework):
    state = dict(started().weights)
    state["classifier.bias"] = np.arange(10, dtype=np.float32)
    nothing = logits(framework, state, PIXELS, np.zeros((3, 32), np.float32))
    np.testing.assert_array_equal(nothing, np.tile(state["classifier.bias"], (3, 1)))
    mask = np.float32([[0, 1, 2, 4] * 8, [1] * 32, [0] * 31 + [2]])
    found = logits(framework, state, PIXELS, mask)
    for sample in range(3):
        other = state | {"classifier.weight": state["classifier.weight"] * mask[sample]}
        expected = logits(framework, other, PIXELS)[sample]
        np.testing.assert_allclose(found[sample], expected, rtol=1e-5, atol=1e-6)


@both
@pytest.mark.parametrize("parts", [1, 2])
def test_masks_reach_the_net_of_a_step(framework, parts):
    # Without a single feature left the logits are the biases, zero: the loss is log 10, and only
    # the biases have a gradient.
    recipe = dataclasses.replace(
        PLAIN, optimizer=dataclasses.replace(PLAIN.optimizer, weight_decay=0.0)
    )
    step = train_step(framework, started(recipe), parts)
    samples = [Sample(0, index) for index in range(8 // parts)]
    batch = batch_of(samples, (np.zeros((8 // parts, 32), np.float32), None))
    loss, _ = array(step([batch] * parts, 0.1, None))
    assert loss == pytest.approx(np.log(10), rel=3e-6)
    before, after = started(recipe).weights, step.read(started(recipe).progress).weights
    changed = [key for key in TRAINED if not np.array_equal(before[key], after[key])]
    assert changed == ["classifier.bias"]


@both
@pytest.mark.parametrize("channels", [1, 3])
def test_normalising_on_the_device_gives_the_bits_of_the_pixel_path(framework, channels):
    # All 256 brightnesses in every channel, each channel in an order of its own.
    random = np.random.default_rng(0)
    images = np.stack([random.permutation(256).reshape(16, 16) for _ in range(channels)], -1)
    images = images.astype(np.uint8)
    means, stds = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    spec = dataclasses.replace(
        SPEC,
        input_size=(channels, 16, 16),
        preprocessing=Preprocessing(means, stds, crop_fraction=1.0),
    )
    picture = Image.fromarray(images if channels == 3 else images[:, :, 0])
    expected = preprocess(picture, spec)
    twin = load_backend(framework)
    batch = TrainingBatch(images[None], np.zeros(1, np.int32), None, None, ())
    for mode in twin.predict.MODES:
        with twin.predict.running(mode):
            tensors = twin.data.to_device(batch, twin.distributed.join("cpu").device)
            found = array(twin.data.Normalise(spec.preprocessing)(tensors.images))
        assert found.dtype == np.float32
        assert found.shape == (1, channels, 16, 16)
        assert np.ascontiguousarray(found[0]).tobytes() == expected.tobytes()


@both
def test_a_batch_on_the_device_is_the_batch(framework):
    twin = load_backend(framework)
    batch = part(RECIPE, 0)
    tensors = twin.data.to_device(batch, twin.distributed.join("cpu").device)
    for ours, theirs in zip(batch[:4], tensors, strict=True):
        assert array(theirs).dtype == ours.dtype
        np.testing.assert_array_equal(array(theirs), ours)
    without = twin.data.to_device(part(PLAIN, 0), twin.distributed.join("cpu").device)
    assert (without.dropout, without.drop_path) == (None, None)
