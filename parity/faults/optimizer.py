"""Faults in the update of weights and statistics."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tinynet import recipe
from tinynet.checkpoints import training_state

from parity.faults.planting import BOTH, Group, Original

GROUP = Group("optimizer")


@GROUP.fault("optim:RMSProp.__init__", "optimizer", "mean_square of conv_stem.weight", BOTH)
def squares_decay_too_slowly(
    right: Original, layer: Any, parameters: Any, decayed: Any, settings: Any
) -> None:
    """RMSProp's mean squares decay by 0.99, PyTorch's default, where the recipe says 0.9."""
    right(layer, parameters, decayed, dataclasses.replace(settings, decay=0.99))


@GROUP.fault("optim:RMSProp.forward", "optimizer", "momentum of conv_stem.weight", ("mindspore",))
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


@GROUP.fault("optim:RMSProp.forward", "optimizer", "momentum of conv_stem.weight", ("torch",))
def learning_rate_outside_the_momentum(
    right: Original, layer: Any, gradients: Any, learning_rate: float
) -> None:
    """RMSProp multiplies by the learning rate after the momentum, as torch.optim.RMSprop does."""
    for momentum in layer.slots["momentum"]:
        momentum.mul_(learning_rate)
    right(layer, gradients, learning_rate)
    for momentum in layer.slots["momentum"]:
        momentum.div_(learning_rate)


@GROUP.fault(
    "optim:RMSProp.__init__",
    "optimizer",
    "mean_square of *bn?.weight",
    ("mindspore",),
    answers="step:TrainStep",
)
def everything_decays(
    right: Original, layer: Any, parameters: Any, decayed: Any, settings: Any
) -> None:
    """Weight decay applies to batch norm and biases too."""
    right(layer, parameters, [True] * len(decayed), settings)


@GROUP.fault(
    "optim:RMSProp.__init__",
    "optimizer",
    "momentum of conv_stem.weight",
    ("torch",),
    answers="step:TrainStep",
)
def nothing_decays(
    right: Original, layer: Any, parameters: Any, decayed: Any, settings: Any
) -> None:
    """Weight decay is left out."""
    right(layer, parameters, [False] * len(decayed), settings)


@GROUP.fault("optim:SGD.forward", "optimizer", "momentum of conv_stem.weight", ("mindspore",))
def dampened_gradients(right: Original, layer: Any, gradients: Any, learning_rate: Any) -> None:
    """SGD dampens gradients by the momentum."""
    right(layer, [(1.0 - layer.m) * gradient for gradient in gradients], learning_rate)


@GROUP.fault(training_state.initial_training_state, "optimizer", "mean_square")
def mean_squares_start_at_zero(right: Original, *args: Any) -> Any:
    """RMSProp's mean squares start at zero, PyTorch's way, instead of at one."""
    state = right(*args)
    zeros = {
        slot: {key: np.zeros_like(array) for key, array in arrays.items()}
        for slot, arrays in state.slots.items()
    }
    return dataclasses.replace(state, slots=zeros)


@GROUP.fault(recipe.training_spec, "schedule", "batch-norm momentum", official=True)
def statistics_decay_too_fast(right: Original, spec: Any, recipe: Any) -> Any:
    """Batch-norm statistics decay by 0.9 in training, where the paper says 0.99."""
    return spec


@GROUP.fault(
    "step:training_spec", "trajectory", "statistics", BOTH, answers="TrainStep", official=True
)
def recipes_statistics_ignored(right: Original, spec: Any, recipe: Any) -> Any:
    """One twin trains with the net's own batch-norm momentum and not with the recipe's."""
    return spec


@GROUP.fault("step:TrainStep.__call__", "trajectory", "loss of step *", ("mindspore",))
def first_learning_rate_for_ever(
    right: Original, step: Any, batches: Any, learning_rate: float, *args: Any
) -> Any:
    """The learning rate is taken once and built into the step."""
    return right(step, batches, right.memory.setdefault(id(step), learning_rate), *args)
