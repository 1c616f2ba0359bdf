"""Optimizer steps of a small net on images of noise: what several test files take."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from tinynet.backend import FRAMEWORKS, load_backend
from tinynet.checkpoints.training_state import initial_training_state
from tinynet.data.loader import TrainingBatch
from tinynet.data.masks import draw_masks
from tinynet.data.sampling import part_positions, samples_at
from tinynet.net.manifest import TRAINED_ROLES, manifest
from tinynet.recipe import load_recipe
from tinynet.spec import Head, Stage, Stem, load_spec
from tinynet.training.schedule import ema_decay, learning_rate

both = pytest.mark.parametrize("framework", FRAMEWORKS)

# tinynet_digits has no block with a skip, so nothing of drop-path; and compiles for half a minute.
SPEC = dataclasses.replace(
    load_spec("tinynet_digits"),
    name="small",
    input_size=(1, 16, 16),
    stem=Stem(3, 2, 8),
    stages=(Stage("ds", 1, 3, 1, 1, 8, 0.25), Stage("ir", 2, 3, 2, 2, 12, 0.25)),
    head=Head(32),
    expected=None,
)
TRAINED = [key for key, entry in manifest(SPEC).items() if entry.role in TRAINED_ROLES]
SKIPS = [place for place, block in enumerate(SPEC.blocks()) if block.has_skip]
# Every part of a step, with numbers that are seen after a few of them.
RECIPE = load_recipe(
    "digits",
    [
        "batch_size=8",
        "dropout_rate=0.2",
        "drop_path_rate=0.5",
        "schedule.warmup_epochs=1",
        "optimizer.weight_decay=0.01",
        "batch_norm_momentum=0.03",
    ],
)
PLAIN = load_recipe(
    "imagenet_resnet",
    ["batch_size=8", "schedule.learning_rate=0.05", "optimizer.weight_decay=0.01"],
)
IMAGES = 40
STEPS = 6
PIXELS = np.random.default_rng(5).standard_normal((3, *SPEC.input_size)).astype(np.float32)


@functools.cache
def part(recipe, step, parts=1, which=0):
    """Returns one part of the batch of a step."""
    samples = samples_at(part_positions(step, recipe.batch_size, parts, which), IMAGES, 0)
    return batch_of(samples, draw_masks(SPEC, recipe, 0, samples))


def batch_of(samples, masks=(None, None)):
    """Returns a batch of random images, the same ones for the same samples."""
    channels, height, width = SPEC.input_size
    images = [
        np.random.default_rng(s.index).integers(0, 256, (height, width, channels), np.uint8)
        for s in samples
    ]
    labels = np.array([sample.index % SPEC.num_classes for sample in samples], np.int32)
    return TrainingBatch(np.stack(images), labels, *masks, ())


def started(recipe=RECIPE):
    """Returns the state in which a run of this recipe starts."""
    return initial_training_state(SPEC, recipe, 0, IMAGES, "0" * 64)


def train_step(framework, state=None, parts=1, **settings):
    """Returns a step, in PyNative mode unless asked for the graph: compiling takes seconds."""
    twin = load_backend(framework)
    if framework == "mindspore":
        settings = {"compiled": False} | settings
    state = started() if state is None else state
    return twin.step.TrainStep(state, twin.distributed.join("cpu"), parts, **settings)


def take(step, numbers, parts=1):
    """Takes the steps of these numbers and returns the reports."""
    recipe = step.recipe
    return [
        array(
            step(
                [part(recipe, number, parts, which) for which in range(parts)],
                learning_rate(recipe, number, IMAGES),
                ema_decay(recipe.ema, number) if recipe.ema else None,
            )
        )
        for number in numbers
    ]


def array(tensor):
    """Returns the values of a tensor of either framework."""
    return tensor.numpy() if isinstance(tensor, torch.Tensor) else tensor.asnumpy()


def groups(state):
    """Returns all that a step changes: name -> tensors."""
    ema = {"ema": state.ema} if state.ema is not None else {}
    return {"weights": state.weights} | ema | state.slots


def distances(found, expected):
    """Returns each group's norm of the difference, as a share of the norm of the group."""
    result = {}
    for name, tensors in groups(expected).items():
        assert groups(found)[name].keys() == tensors.keys()
        flat = np.concatenate([tensor.ravel() for tensor in tensors.values()])
        other = np.concatenate([groups(found)[name][key].ravel() for key in tensors])
        result[name] = np.linalg.norm(other - flat.astype(np.float64)) / np.linalg.norm(flat)
    return result


def assert_same_bits(found, expected):
    """Asserts that two states are the same, every bit of them."""
    for name, tensors in groups(expected).items():
        for key, tensor in tensors.items():
            assert groups(found)[name][key].tobytes() == tensor.tobytes(), (name, key)
