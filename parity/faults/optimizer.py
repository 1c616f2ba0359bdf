"""Faults in the update of weights and statistics."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (what stands in for a function takes whatever that takes)

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tinynet import recipe
from tinynet.backend import Backend
from tinynet.checkpoints import training_state

from parity.faults.planting import BOTH, Group, Injection, forward, replaced

GROUP = Group("optimizer")


@GROUP.fault("optimizer", "mean_square of conv_stem.weight", "optim", "RMSProp", BOTH)
def squares_decay_too_slowly(twin: Backend) -> Injection:
    """RMSProp's mean squares decay by 0.99, PyTorch's default, where the recipe says 0.9."""

    def faulty(right: Any, layer: Any, parameters: Any, decayed: Any, settings: Any) -> None:
        right(layer, parameters, decayed, dataclasses.replace(settings, decay=0.99))

    return replaced(twin.optim.RMSProp, "__init__", faulty)


@GROUP.fault("optimizer", "momentum of conv_stem.weight", "optim", "RMSProp", ("mindspore",))
def eps_outside_the_root(twin: Backend) -> Injection:
    """Eps is added to the root in full blocks of eight numbers, as in MindSpore's own RMSProp."""

    def faulty(right: Any, layer: Any, gradients: Any, learning_rate: Any) -> None:
        ops = twin.optim.ops

        def root(x: Any) -> Any:
            # Not by slices: MindSpore warns of those that are empty.
            places = np.arange(x.size) < x.size // 8 * 8
            in_blocks = twin.optim.ms.Tensor(places.reshape(x.shape))
            outside = ops.sqrt(x - layer.eps) + layer.eps
            return ops.where(in_blocks, outside, ops.sqrt(x))

        vars(twin.optim)["ops"] = _Operations(ops, root)
        try:
            right(layer, gradients, learning_rate)
        finally:
            vars(twin.optim)["ops"] = ops

    return replaced(twin.optim.RMSProp, forward(twin), faulty)


class _Operations:
    """A framework's operations with another square root."""

    def __init__(self, right: Any, root: Any):
        self.right = right
        self.sqrt = root

    def __getattr__(self, name: str) -> Any:
        return getattr(self.right, name)


@GROUP.fault("optimizer", "momentum of conv_stem.weight", "optim", "RMSProp", ("torch",))
def learning_rate_outside_the_momentum(twin: Backend) -> Injection:
    """RMSProp multiplies by the learning rate behind the momentum, as torch.optim.RMSprop does."""

    def faulty(right: Any, layer: Any, gradients: Any, learning_rate: float) -> None:
        for momentum in layer.slots["momentum"]:
            momentum.mul_(learning_rate)
        right(layer, gradients, learning_rate)
        for momentum in layer.slots["momentum"]:
            momentum.div_(learning_rate)

    return replaced(twin.optim.RMSProp, forward(twin), faulty)


@GROUP.fault("optimizer", "mean_square of *bn?.weight", "step", "TrainStep", ("mindspore",))
def everything_decays(twin: Backend) -> Injection:
    """Weight decay applies to batch norm and biases too."""
    return _decayed(twin, every=True)


@GROUP.fault("optimizer", "momentum of conv_stem.weight", "step", "TrainStep", ("torch",))
def nothing_decays(twin: Backend) -> Injection:
    """Weight decay is left out."""
    return _decayed(twin, every=False)


def _decayed(twin: Backend, every: bool) -> Injection:
    def faulty(right: Any, layer: Any, parameters: Any, decayed: Any, settings: Any) -> None:
        right(layer, parameters, [every] * len(decayed), settings)

    return replaced(twin.optim.RMSProp, "__init__", faulty)


@GROUP.fault("optimizer", "momentum of conv_stem.weight", "optim", "SGD", ("mindspore",))
def dampened_gradients(twin: Backend) -> Injection:
    """SGD dampens gradients by the momentum."""

    def faulty(right: Any, layer: Any, gradients: Any, learning_rate: Any) -> None:
        right(layer, [(1.0 - layer.m) * gradient for gradient in gradients], learning_rate)

    return replaced(twin.optim.SGD, forward(twin), faulty)


@GROUP.fault(
    "optimizer", "mean_square", "tinynet/checkpoints/training_state", "initial_training_state"
)
def mean_squares_start_at_zero() -> Injection:
    """RMSProp's mean squares start at zero, PyTorch's way, instead of at one."""

    def faulty(right: Any, *args: Any) -> Any:
        state = right(*args)
        zeros = {
            slot: {key: np.zeros_like(array) for key, array in arrays.items()}
            for slot, arrays in state.slots.items()
        }
        return dataclasses.replace(state, slots=zeros)

    return replaced(training_state, "initial_training_state", faulty)


@GROUP.fault("schedule", "batch-norm momentum", "tinynet/recipe", "training_spec", official=True)
def statistics_decay_too_fast() -> Injection:
    """Batch-norm statistics decay by 0.9 in training, where the paper says 0.99."""
    return replaced(recipe, "training_spec", lambda right, spec, recipe: spec)


@GROUP.fault("trajectory", "statistics", "step", "TrainStep", BOTH, official=True)
def recipes_statistics_ignored(twin: Backend) -> Injection:
    """One twin trains with the net's own batch-norm momentum and not with the recipe's."""
    return replaced(twin.step, "training_spec", lambda right, spec, recipe: spec, here=True)


@GROUP.fault("trajectory", "loss of step *", "step", "TrainStep", ("mindspore",))
def first_learning_rate_for_ever(twin: Backend) -> Injection:
    """The learning rate is taken once and built into the step."""
    first: dict[int, float] = {}

    def faulty(right: Any, step: Any, batches: Any, learning_rate: float, *args: Any) -> Any:
        return right(step, batches, first.setdefault(id(step), learning_rate), *args)

    return replaced(twin.step.TrainStep, "__call__", faulty)
