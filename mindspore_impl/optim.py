"""The optimizers and the average of the weights in MindSpore.

Each updates all tensors in place, with the learning rate it is given; what it keeps for a tensor
are its slots. They are made of primitive operations, because nn.RMSProp's CPU kernel puts eps in
another place for full blocks of eight numbers than for the rest. HyperMap compiles in a third of
the time that a loop takes, whose turns are unrolled one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import mindspore as ms
from mindspore import nn, ops

from tinynet.recipe import Optimizer

Tensors = Sequence[ms.Tensor]


class _Optimizer(nn.Cell):
    # Slot -> where it starts.
    STARTS: ClassVar[dict[str, str]]

    def __init__(self, parameters: Tensors, decayed: Sequence[bool], settings: Optimizer):
        super().__init__(auto_prefix=False)
        self.trained = ms.ParameterTuple(parameters)
        self.decays = tuple(settings.weight_decay if decays else 0.0 for decays in decayed)
        self.slots = {slot: self.trained.clone(slot, how) for slot, how in self.STARTS.items()}
        for slot, tensors in self.slots.items():
            setattr(self, slot, tensors)
        self.decay, self.eps, self.m = settings.decay, settings.eps, settings.momentum
        self.for_each = ops.HyperMap()


class RMSProp(_Optimizer):
    """RMSProp in TensorFlow's form: eps inside the root, the learning rate inside the momentum.

    With g the gradient plus weight_decay times the parameter p where it decays:
    mean_square += (1 - decay) (g^2 - mean_square);
    momentum = m * momentum + learning_rate * g / sqrt(mean_square + eps); p -= momentum.

    Args:
        parameters: what is trained.
        decayed: for each parameter, whether weight decay applies.
        settings: the recipe's.

    Source: ``tf.train.RMSPropOptimizer``, as timm's ``RMSpropTF`` carries it over.
    ``torch.optim.RMSprop`` is another formula, and ``mindspore.nn.RMSProp`` has another on CPUs.
    """

    STARTS: ClassVar = {"mean_square": "ones", "momentum": "zeros"}

    def construct(self, gradients: Tensors, learning_rate: ms.Tensor) -> None:
        """Updates all parameters; ``gradients`` are in their order and may be overwritten."""
        tensors = self.decays, self.trained, gradients, self.mean_square, self.momentum
        self.for_each(ops.partial(self._update, learning_rate), *tensors)

    def _update(
        self,
        learning_rate: ms.Tensor,
        weight_decay: float,
        parameter: ms.Tensor,
        gradient: ms.Tensor,
        mean_square: ms.Tensor,
        momentum: ms.Tensor,
    ) -> ms.Tensor:
        if weight_decay != 0.0:
            gradient = gradient + weight_decay * parameter
        square = mean_square + (1.0 - self.decay) * (gradient * gradient - mean_square)
        ops.assign(mean_square, square)
        step = self.m * momentum + learning_rate * gradient / ops.sqrt(square + self.eps)
        ops.assign(momentum, step)
        return ops.assign_sub(parameter, step)


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum.

    With g the gradient plus weight_decay times the parameter p where it decays:
    momentum = m * momentum + g; p -= learning_rate * momentum.

    Args:
        parameters: what is trained.
        decayed: for each parameter, whether weight decay applies.
        settings: the recipe's.

    Source: ``torch.optim.SGD`` without dampening, ``mindspore.nn.SGD``.
    """

    STARTS: ClassVar = {"momentum": "zeros"}

    def construct(self, gradients: Tensors, learning_rate: ms.Tensor) -> None:
        """Updates all parameters; ``gradients`` are in their order and may be overwritten."""
        tensors = self.decays, self.trained, gradients, self.momentum
        self.for_each(ops.partial(self._update, learning_rate), *tensors)

    def _update(
        self,
        learning_rate: ms.Tensor,
        weight_decay: float,
        parameter: ms.Tensor,
        gradient: ms.Tensor,
        momentum: ms.Tensor,
    ) -> ms.Tensor:
        if weight_decay != 0.0:
            gradient = gradient + weight_decay * parameter
        step = self.m * momentum + gradient
        ops.assign(momentum, step)
        return ops.assign_sub(parameter, learning_rate * step)


class Average(nn.Cell):
    """The exponential moving average of tensors: average += share (tensor - average)."""

    def __init__(self, tensors: Tensors):
        super().__init__(auto_prefix=False)
        self.tensors = ms.ParameterTuple(tensors)
        self.averages = self.tensors.clone("ema", "same")
        self.for_each = ops.HyperMap()

    def construct(self, share: ms.Tensor) -> None:
        """Goes a share of the way, from 0 to 1, to the tensors as they are now."""
        self.for_each(ops.partial(self._approach, share), self.averages, self.tensors)

    def _approach(self, share: ms.Tensor, average: ms.Tensor, tensor: ms.Tensor) -> ms.Tensor:
        return ops.assign_add(average, share * (tensor - average))


OPTIMIZERS: dict[str, type[RMSProp] | type[SGD]] = {"rmsprop": RMSProp, "sgd": SGD}
