"""Faults in steps of training: loss, updates, what changes from step to step, the average (EMA)."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from tinynet import recipe
from tinynet.checkpoints import training_state
from tinynet.net import drop_path
from tinynet.training import loop, schedule

from parity.faults.planting import BOTH, MINDSPORE, TORCH, Group, Original

# Faults in the loss, of training and of validation.

LOSS = Group("loss")


@LOSS("loss:cross_entropy", "loss", "loss", BOTH, official=True)
def smoothing_over_the_other_classes(
    right: Original, logits: Any, labels: Any, label_smoothing: float = 0.0
) -> Any:
    """Smoothing gives the wrong classes s / (K - 1) each and the right one 1 - s."""
    # The same as s K / (K - 1) over all classes.
    classes = logits.shape[1]
    return right(logits, labels, label_smoothing * classes / (classes - 1))


@LOSS("loss:cross_entropy", "loss", "loss", MINDSPORE)
def smoothing_left_out(right: Original, logits: Any, labels: Any, smoothing: float) -> Any:
    """Labels are not smoothed."""
    return right(logits, labels)


@LOSS("loss:cross_entropy", "loss", "loss", TORCH)
def loss_summed(right: Original, logits: Any, *args: Any) -> Any:
    """The loss is the sum over a batch instead of the mean."""
    return len(logits) * right(logits, *args)


@LOSS("tinynet.training.evaluation:_log_softmax", "metrics", "mean loss", answers="", official=True)
def validation_loss_smoothed(right: Original, logits: Any) -> Any:
    """The loss of validation is the smoothed one of training."""
    log_probabilities = right(logits)
    return 0.9 * log_probabilities + 0.1 * log_probabilities.mean(axis=1, keepdims=True)


# Faults in the update of weights and statistics.

OPTIMIZER = Group("optimizer")
_DECAYED = functools.partial(
    OPTIMIZER, "optim:RMSProp.__init__", "optimizer", answers="step:TrainStep"
)


@OPTIMIZER("optim:RMSProp.__init__", "optimizer", "mean_square of conv_stem.weight", BOTH)
def squares_decay_too_slowly(right: Original, layer: Any, *args: Any) -> None:
    """RMSProp's mean squares decay by 0.99, PyTorch's default, where the recipe says 0.9."""
    *tensors, settings = args
    right(layer, *tensors, dataclasses.replace(settings, decay=0.99))


@OPTIMIZER("optim:RMSProp.forward", "optimizer", "momentum of conv_stem.weight", MINDSPORE)
def eps_outside_the_root(right: Original, layer: Any, gradients: Any, learning_rate: Any) -> None:
    """Eps is added to the root in full blocks of eight numbers, as in MindSpore's own RMSProp."""
    optim = right.twin.optim
    ops = optim.ops

    def root(x: Any) -> Any:
        # Not by slices: MindSpore warns of those that are empty.
        count: int = x.size
        places = np.arange(count) < count // 8 * 8
        in_blocks = optim.ms.Tensor(places.reshape(x.shape))
        outside = ops.sqrt(x - layer.eps) + layer.eps
        return ops.where(in_blocks, outside, ops.sqrt(x))

    vars(optim)["ops"] = _Operations(ops, root)
    try:
        right(layer, gradients, learning_rate)
    finally:
        vars(optim)["ops"] = ops


class _Operations:
    """A framework's operations with another square root."""

    def __init__(self, right: Any, root: Any):
        self.right = right
        self.sqrt = root

    def __getattr__(self, name: str) -> Any:
        return getattr(self.right, name)


@OPTIMIZER("optim:RMSProp.forward", "optimizer", "momentum of conv_stem.weight", TORCH)
def learning_rate_outside_the_momentum(right: Original, layer: Any, *args: Any) -> None:
    """RMSProp multiplies by the learning rate after the momentum, as torch.optim.RMSprop does."""
    _, learning_rate = args
    for momentum in layer.slots["momentum"]:
        momentum.mul_(learning_rate)
    right(layer, *args)
    for momentum in layer.slots["momentum"]:
        momentum.div_(learning_rate)


@_DECAYED("mean_square of *bn?.weight", MINDSPORE)
def everything_decays(right: Original, layer: Any, tensors: Any, decayed: Any, *args: Any) -> None:
    """Weight decay applies to batch norm and biases too."""
    right(layer, tensors, [True] * len(decayed), *args)


@_DECAYED("momentum of conv_stem.weight", TORCH)
def nothing_decays(right: Original, layer: Any, tensors: Any, decayed: Any, *args: Any) -> None:
    """Weight decay is left out."""
    right(layer, tensors, [False] * len(decayed), *args)


@OPTIMIZER("optim:SGD.forward", "optimizer", "momentum of conv_stem.weight", MINDSPORE)
def dampened_gradients(right: Original, layer: Any, gradients: Any, learning_rate: Any) -> None:
    """SGD dampens gradients by the momentum."""
    right(layer, [(1.0 - layer.m) * gradient for gradient in gradients], learning_rate)


@OPTIMIZER(training_state.initial_training_state, "optimizer", "mean_square")
def mean_squares_start_at_zero(right: Original, *args: Any) -> Any:
    """RMSProp's mean squares start at zero, PyTorch's way, instead of at one."""
    state = right(*args)
    zeros = {
        slot: {key: np.zeros_like(array) for key, array in arrays.items()}
        for slot, arrays in state.slots.items()
    }
    return dataclasses.replace(state, slots=zeros)


@OPTIMIZER(recipe.training_spec, "schedule", "batch-norm momentum", official=True)
def statistics_decay_too_fast(right: Original, spec: Any, recipe: Any) -> Any:
    """Batch-norm statistics decay by 0.9 in training, where the paper says 0.99."""
    return spec


@OPTIMIZER(
    "step:training_spec", "trajectory", "statistics", BOTH, answers="TrainStep", official=True
)
def recipes_statistics_ignored(right: Original, spec: Any, recipe: Any) -> Any:
    """One twin trains with the net's own batch-norm momentum and not with the recipe's."""
    return spec


@OPTIMIZER("step:TrainStep.__call__", "trajectory", "loss of step *", MINDSPORE)
def first_learning_rate_for_ever(right: Original, step: Any, batches: Any, *args: Any) -> Any:
    """The learning rate is taken once and built into the step."""
    learning_rate, *rest = args
    return right(step, batches, right.memory.setdefault(id(step), learning_rate), *rest)


# Faults in what changes from step to step.

SCHEDULE = Group("schedule")


@SCHEDULE(schedule.learning_rate, "schedule", "rate of step 6758", official=True)
def stairs_at_whole_epochs(right: Original, recipe: Any, step: int, images: int) -> float:
    """The staircase goes down at ends of epochs (3, 5, 8, 10, 12, ...) instead of every 2.4."""
    epoch = step * recipe.batch_size // images
    if recipe.schedule.kind != "staircase" or epoch < recipe.schedule.warmup_epochs:
        return right(recipe, step, images)
    return right(recipe, math.ceil(epoch * images / recipe.batch_size), images)


@SCHEDULE(schedule.learning_rate, "schedule", "rate of step 3755", official=True)
def decay_from_the_first_step(right: Original, recipe: Any, step: int, images: int) -> float:
    """The staircase counts from the first step, so that the recipe's rate is never reached."""
    rate = right(recipe, step, images)
    settings = recipe.schedule
    warmup = settings.warmup_epochs * images / recipe.batch_size
    if settings.kind != "staircase" or step < warmup:
        return rate
    stairs = step * recipe.batch_size / images // settings.decay_epochs
    return settings.learning_rate * settings.decay_rate**stairs


@SCHEDULE(schedule.learning_rate, "schedule", "rate of step 1")
def an_epoch_ahead(right: Original, recipe: Any, step: int, images: int) -> float:
    """Learning rates are those of an epoch later."""
    return right(recipe, step + images // recipe.batch_size, images)


@SCHEDULE(schedule.total_steps, "schedule", "number of steps")
def last_steps_left_out(right: Original, recipe: Any, images: int) -> int:
    """A run ends with its last full batch."""
    return int(recipe.epochs * images) // recipe.batch_size


@SCHEDULE(schedule.ema_decay, "schedule", "decay after 0 updates")
def average_without_warm_up(right: Original, ema: Any, updates: int) -> float:
    """The average has its whole inertia from the first step, although the recipe warms it up."""
    return right(dataclasses.replace(ema, warmup=False), updates)


@SCHEDULE(drop_path.drop_path_rates, "schedule", "rate of each block")
def all_blocks_drop_alike(right: Original, spec: Any, rate: float) -> tuple[float, ...]:
    """Every block with a skip is left out with the same probability, whatever its depth."""
    return tuple(rate * block.has_skip for block in spec.blocks())


@SCHEDULE("tinynet.training.loop:learning_rate", "schedule", "rate of step 2", answers=loop.train)
def rates_a_step_late(right: Original, recipe: Any, step: int, images: int) -> float:
    """Each step of the loop takes the learning rate of the one before it."""
    return right(recipe, max(step - 1, 0), images)


# Faults in the average of the weights (EMA).

AVERAGE = Group("average")


@AVERAGE("optim:Average.__init__", "ema", "bn1.running_mean", BOTH)
def statistics_not_averaged(right: Original, layer: Any, tensors: Any) -> None:
    """The average has the weights only and leaves batch-norm statistics as they were."""
    right(layer, tensors)
    # An average of itself never moves.
    kept = (t if t.requires_grad else a for t, a in zip(tensors, layer.averages, strict=True))
    layer.tensors = type(layer.tensors)(kept)


@AVERAGE("optim:Average.forward", "ema", "conv_stem.weight", TORCH)
def share_and_decay_confused(right: Original, layer: Any, share: float) -> Any:
    """The average takes the weight of the old for that of the new."""
    return right(layer, 1.0 - share)


@AVERAGE("step:TrainStep.__call__", "trajectory", "averaged weights", MINDSPORE, official=True)
def averaged_once_an_epoch(
    right: Original, step: Any, batches: Any, rate: float, decay: float, *args: Any
) -> Any:
    """The average is updated once an epoch instead of once a step."""
    done = right.memory[id(step)] = right.memory.get(id(step), 0) + 1
    # Epochs of two and a half steps.
    return right(step, batches, rate, 1.0 if done % 3 else decay, *args)


@AVERAGE("step:TrainStep.predictor", "metrics", "mean loss with averaged weights", TORCH)
def raw_weights_judged_as_averaged(right: Original, step: Any, ema: bool) -> Any:
    """Training evaluates its raw weights twice and never the averaged ones."""
    return right(step, ema=False)


@AVERAGE("step:TrainStep.__init__", "resume", "ema.conv_stem.weight", BOTH, official=True)
def average_lost_on_resuming(
    right: Original, step: Any, state: Any, *args: Any, **settings: Any
) -> None:
    """The average lives outside of the checkpoint: a resumed run starts it from its weights."""
    if state.progress.step > 0:
        state = dataclasses.replace(state, ema=dict(state.weights))
    right(step, state, *args, **settings)
