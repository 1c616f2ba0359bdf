"""Batch norm, in evaluation and in training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parity.reference.operations.arrays import PIXELS, Array, Gradients, widened


class Normalised(NamedTuple):
    """The output (N, C, H, W) of batch norm in training, and the new running statistics (C,)."""

    y: Array
    running_mean: Array
    running_variance: Array


@widened
def batch_norm(
    x: Array, weight: Array, bias: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """Normalises (N, C, H, W) by the running statistics, each (C,), as in evaluation."""
    scale = weight / np.sqrt(variance + eps)
    return (x - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]


@widened
def batch_norm_vjp(
    dy: Array, x: Array, weight: Array, mean: Array, variance: Array, eps: float
) -> Gradients:
    """Returns the gradients of :func:`batch_norm`; the running statistics are constants."""
    roots = np.sqrt(variance + eps)
    normalised = (x - mean[:, None, None]) / roots[:, None, None]
    dx = dy * (weight / roots)[:, None, None]
    return Gradients(dx, (dy * normalised).sum(PIXELS), dy.sum(PIXELS))


@widened
def batch_norm_training(
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    eps: float,
    momentum: float,
) -> Normalised:
    """Normalises by the batch's own statistics, and moves the running ones towards them.

    Args:
        x: (N, C, H, W) with N H W at least 2, or there is no unbiased variance.
        weight: (C,).
        bias: (C,).
        mean: (C,), the running mean before.
        variance: (C,), the running variance before.
        eps: added to the variance, which is the biased one here.
        momentum: the weight of the batch in the running statistics, which take the unbiased one.
    """
    count = x.size // x.shape[1]
    batch_mean, batch_variance = x.mean(PIXELS), x.var(PIXELS)
    unbiased = batch_variance * count / (count - 1)
    return Normalised(
        batch_norm(x, weight, bias, batch_mean, batch_variance, eps),
        (1 - momentum) * mean + momentum * batch_mean,
        (1 - momentum) * variance + momentum * unbiased,
    )


@widened
def batch_norm_training_vjp(dy: Array, x: Array, weight: Array, eps: float) -> Gradients:
    """Returns the gradients of :func:`batch_norm_training`, through the batch's statistics."""
    mean, variance = x.mean(PIXELS), x.var(PIXELS)
    of_constants = batch_norm_vjp(dy, x, weight, mean, variance, eps)
    normalised = (x - mean[:, None, None]) / np.sqrt(variance + eps)[:, None, None]
    # Normalising removes whatever shifts or scales all pixels of a channel.
    along = (dy * normalised).mean(PIXELS)[:, None, None]
    centred = dy - dy.mean(PIXELS)[:, None, None] - normalised * along
    dx = centred * (weight / np.sqrt(variance + eps))[:, None, None]
    return Gradients(dx, of_constants.weight, of_constants.bias)
