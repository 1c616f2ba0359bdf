"""The optimizers and the average of the weights in PyTorch.

Each updates all tensors in place, with the learning rate it is given; what it keeps for a tensor
are its slots. Lists of tensors go through in one call each (foreach), which is what keeps the
whole update to a few percent of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from tinynet.recipe import Optimizer

Tensors = list[torch.Tensor]

# torch.optim is made of these functions for whole lists, which torch exports without types.
_torch: Any = torch


class _Optimizer(nn.Module):
    # Slot -> where it starts.
    STARTS: ClassVar[dict[str, float]]

    def __init__(self, parameters: Tensors, decayed: Sequence[bool], settings: Optimizer):
        super().__init__()
        self.settings = settings
        self.trained = list(parameters)
        self.decayed = [index for index, decays in enumerate(decayed) if decays]
        self.slots = {
            slot: [torch.full_like(p, start, requires_grad=False) for p in parameters]
            for slot, start in self.STARTS.items()
        }

    def decay_weights(self, gradients: Tensors) -> None:
        if self.settings.weight_decay and self.decayed:
            chosen = [gradients[index] for index in self.decayed]
            parameters = [self.trained[index] for index in self.decayed]
            _torch._foreach_add_(chosen, parameters, alpha=self.settings.weight_decay)


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

    STARTS: ClassVar = {"mean_square": 1.0, "momentum": 0.0}

    @torch.no_grad()
    def forward(self, gradients: Tensors, learning_rate: float) -> None:
        """Updates all parameters; ``gradients`` are in their order and may be overwritten."""
        settings, mean_square, momentum = self.settings, *self.slots.values()
        self.decay_weights(gradients)
        squares = _torch._foreach_mul(gradients, gradients)
        _torch._foreach_lerp_(mean_square, squares, 1.0 - settings.decay)
        roots = _torch._foreach_add(mean_square, settings.eps)
        _torch._foreach_sqrt_(roots)
        _torch._foreach_mul_(momentum, settings.momentum)
        _torch._foreach_addcdiv_(momentum, gradients, roots, value=learning_rate)
        _torch._foreach_sub_(self.trained, momentum)


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

    STARTS: ClassVar = {"momentum": 0.0}

    @torch.no_grad()
    def forward(self, gradients: Tensors, learning_rate: float) -> None:
        """Updates all parameters; ``gradients`` are in their order and may be overwritten."""
        settings, momentum = self.settings, self.slots["momentum"]
        self.decay_weights(gradients)
        _torch._foreach_mul_(momentum, settings.momentum)
        _torch._foreach_add_(momentum, gradients)
        _torch._foreach_add_(self.trained, momentum, alpha=-learning_rate)


class Average(nn.Module):
    """The exponential moving average of tensors: average += share (tensor - average)."""

    def __init__(self, tensors: Tensors):
        super().__init__()
        self.tensors = list(tensors)
        self.averages = [tensor.detach().clone() for tensor in tensors]

    @torch.no_grad()
    def forward(self, share: float) -> None:
        """Goes a share of the way, from 0 to 1, to the tensors as they are now."""
        _torch._foreach_lerp_(self.averages, self.tensors, share)


OPTIMIZERS: dict[str, type[RMSProp] | type[SGD]] = {"rmsprop": RMSProp, "sgd": SGD}
