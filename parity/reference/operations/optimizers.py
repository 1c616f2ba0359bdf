"""One step of an optimizer, and of the moving average."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parity.reference.operations.arrays import Array, widened


class Slots(NamedTuple):
    """A parameter, and what RMSProp keeps for it from step to step."""

    parameter: Array
    mean_square: Array
    momentum: Array


@widened
def rmsprop_step(
    state: Slots,
    gradient: Array,
    learning_rate: float,
    decay: float,
    momentum: float,
    eps: float,
    weight_decay: float = 0.0,
) -> Slots:
    """Takes a step of TensorFlow's RMSProp: eps inside the root, the rate inside the momentum.

    Args:
        state: before the step; a run starts with a mean square of ones, a momentum of zeros.
        gradient: of the parameter's shape, like everything in ``state``.
        learning_rate: of this step.
        decay: the weight of the old mean square.
        momentum: the weight of the old momentum.
        eps: added to the mean square.
        weight_decay: how much of the parameter is added to its gradient.

    Source: ``tf.train.RMSPropOptimizer``, as timm's ``RMSpropTF`` carries it over.
    """
    parameter, mean_square, step = (values.astype(np.float64) for values in state)
    gradient = gradient + weight_decay * parameter
    mean_square = decay * mean_square + (1 - decay) * gradient**2
    step = momentum * step + learning_rate * gradient / np.sqrt(mean_square + eps)
    return Slots(parameter - step, mean_square, step)


@widened
def sgd_step(
    parameter: Array,
    gradient: Array,
    velocity: Array,
    learning_rate: float,
    momentum: float,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Takes a step of gradient descent with momentum; returns the parameter and the velocity.

    Source: ``torch.optim.SGD`` without dampening, ``mindspore.nn.SGD``.
    """
    velocity = momentum * velocity + gradient + weight_decay * parameter
    return parameter - learning_rate * velocity, velocity


@widened
def ema_step(average: Array, values: Array, decay: float) -> Array:
    """Moves an average towards ``values``; ``decay`` is the weight of the old average."""
    return decay * average + (1 - decay) * values
