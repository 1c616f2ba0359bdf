"""Invented states of training runs: what several test files save, load and convert."""

import dataclasses

import numpy as np

from tinynet.checkpoints.training_state import Best, Progress, TrainingState
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import TRAINED_ROLES, manifest
from tinynet.recipe import Ema, Optimizer, Recipe, load_recipe
from tinynet.spec import Head, Stage, Stem, load_spec

SMALL = dataclasses.replace(
    load_spec("tinynet_e").with_classes(10),
    name="small",
    input_size=(3, 32, 32),
    stem=Stem(3, 2, 8),
    stages=(Stage("ds", 1, 3, 1, 1, 8, 0.25), Stage("ir", 2, 5, 2, 3, 16, 0.25)),
    head=Head(32),
)


def recipe(optimizer: str, ema: bool) -> Recipe:
    """A recipe with an optimizer of that kind, with or without averaged weights."""
    return dataclasses.replace(
        load_recipe("digits"),
        name=f"digits_{optimizer}",
        batch_size=16,
        optimizer=Optimizer(optimizer, momentum=0.9, weight_decay=1e-5),
        ema=Ema(0.99) if ema else None,
    )


def run_state(optimizer: str, ema: bool) -> TrainingState:
    """A state in the middle of a run, with different numbers everywhere."""
    rng = np.random.default_rng(0)

    def noise(keys):
        return {key: rng.random(shapes[key], np.float32) + np.float32(0.5) for key in keys}

    shapes = {key: array.shape for key, array in initial_state(SMALL, 0).items()}
    trained = [key for key, entry in manifest(SMALL).items() if entry.role in TRAINED_ROLES]
    kept = recipe(optimizer, ema)
    return TrainingState(
        weights=noise(shapes),
        ema=noise(shapes) if ema else None,
        slots={slot: noise(trained) for slot in kept.slots},
        progress=Progress(
            spec=SMALL,
            recipe=kept,
            seed=-3,
            images=300,
            data_sha256="00ff" * 16,
            step=70,
            ema_updates=69 if ema else 0,
            best=Best("ema_top1", 0.1 + 0.2, 60) if ema else None,
            loss_scale=2.0**15,
            good_steps=11,
        ),
    )


def assert_same(found: TrainingState, expected: TrainingState) -> None:
    """Asserts that two states are the same, every bit of them, and in the same order."""
    assert found.progress == expected.progress
    assert (found.ema is None) == (expected.ema is None)
    assert list(found.slots) == list(expected.slots)
    groups = [(found.weights, expected.weights), (found.ema or {}, expected.ema or {})]
    groups += [(found.slots[slot], expected.slots[slot]) for slot in expected.slots]
    for arrays, others in groups:
        assert list(arrays) == list(others)
        for key, array in others.items():
            assert arrays[key].dtype == array.dtype == np.float32
            assert arrays[key].shape == array.shape
            assert arrays[key].tobytes() == array.tobytes(), key
