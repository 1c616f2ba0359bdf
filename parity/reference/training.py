"""The reference of a training step, in float64 and without a framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinynet.checkpoints.training_state import TrainingState
from tinynet.data.loader import TrainingBatch
from tinynet.net.manifest import State, manifest
from tinynet.recipe import training_spec

from parity.reference import operations
from parity.reference.net import Array, ReferenceNet
from parity.reference.structure import NET

# The kinds of tensors that weight decay is for.
_DECAYED = ("conv_weight", "linear_weight")


class Step(NamedTuple):
    """The loss of a step, and all that it changes; the progress in ``state`` is that before it."""

    loss: float
    state: TrainingState


def step(
    state: TrainingState, batch: TrainingBatch, learning_rate: float, ema_decay: float | None
) -> Step:
    """Takes one step on a whole batch of one process, in one part.

    ``ema_decay`` is the weight of the old average; None where nothing is averaged.
    """
    spec, recipe = state.progress.spec, state.progress.recipe
    labels, smoothing = batch.labels, recipe.label_smoothing
    logits: list[Array] = []

    def upstream(found: Array) -> Array:
        logits.append(found)
        return operations.cross_entropy_vjp(1.0, found, labels, smoothing)

    run = ReferenceNet(training_spec(spec, recipe), state.weights).run(
        NET, normalised(batch, state), upstream, True, batch.dropout, batch.drop_path
    )
    moved = dataclasses.replace(state, weights={**state.weights, **run.statistics})
    after = update(moved, [run.parameters], [learning_rate], [ema_decay])
    return Step(operations.cross_entropy(logits[0], labels, smoothing), after)


def normalised(batch: TrainingBatch, state: TrainingState) -> Array:
    """Returns the pixels (N, C, H, W) that a net must see of a batch, to float32's last bit."""
    preprocessing = state.progress.spec.preprocessing
    brightness = batch.images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    values = (preprocessing.mean, preprocessing.std)
    mean, std = (np.array(each, np.float32)[:, None, None] for each in values)
    return (brightness - mean) / std


def update(
    state: TrainingState,
    gradients: Sequence[State],
    learning_rates: Sequence[float],
    ema_decays: Sequence[float | None],
) -> TrainingState:
    """Takes optimizer steps on given gradients, by trained key, each followed by the average.

    Where the decay of a step is None, the average stays the same.
    """
    for own, rate, decay in zip(gradients, learning_rates, ema_decays, strict=True):
        state = _optimized(state, own, rate)
        if state.ema is not None and decay is not None:
            moved = {
                k: operations.ema_step(a, state.weights[k], decay) for k, a in state.ema.items()
            }
            state = dataclasses.replace(state, ema=moved)
    return state


def _optimized(state: TrainingState, gradients: State, learning_rate: float) -> TrainingState:
    settings = state.progress.recipe.optimizer
    weights = dict(state.weights)
    slots = {name: dict(arrays) for name, arrays in state.slots.items()}
    entries = manifest(state.progress.spec)
    for key, gradient in gradients.items():
        weight_decay = settings.weight_decay if entries[key].role in _DECAYED else 0.0
        momentum = slots["momentum"][key]
        if settings.kind == "rmsprop":
            before = operations.Slots(weights[key], slots["mean_square"][key], momentum)
            how = settings.decay, settings.momentum, settings.eps, weight_decay
            after = operations.rmsprop_step(before, gradient, learning_rate, *how)
            weights[key], slots["mean_square"][key], slots["momentum"][key] = after
        else:
            weights[key], slots["momentum"][key] = operations.sgd_step(
                weights[key], gradient, momentum, learning_rate, settings.momentum, weight_decay
            )
    return dataclasses.replace(state, weights=weights, slots=slots)
