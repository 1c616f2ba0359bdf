"""What changes from step to step: learning rate, decay of the average, loss scale.

Computed once, here, in exact fractions or float64, and rounded to float32 before a twin sees it.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from tinynet.recipe import Ema, Recipe

# Loss scaling for float16 gradients, the rule of torch.amp.GradScaler with its defaults.
# Source: PyTorch's documentation of GradScaler.
INITIAL_LOSS_SCALE = 65536.0
_SCALE_GROWTH, _SCALE_BACKOFF, _SCALE_INTERVAL = 2.0, 0.5, 2000


def total_steps(recipe: Recipe, images: int) -> int:
    """Returns the steps of a whole run over a data set of ``images`` training images."""
    return math.ceil(_fraction(recipe.epochs) * images / recipe.batch_size)


def learning_rate(recipe: Recipe, step: int, images: int) -> float:
    """Returns the learning rate of a step; its value is a float32.

    The warm-up is linear in the step, from ``warmup_start`` at step 0 to ``learning_rate`` at its
    end. Decay counts from that end, so that the rate named in the recipe is reached whatever the
    length of a stair.

    Args:
        recipe: its schedule.
        step: how many steps were done before, from 0.
        images: training images in the data set: what makes an epoch of steps.

    Source: the staircase is ``tf.train.exponential_decay`` of the EfficientNet reference code,
    the cosine is Loshchilov and Hutter, SGDR (arXiv 1608.03983), without restarts.
    """
    schedule = recipe.schedule
    # In exact fractions, so that a stair falls on its step and not on the one beside it.
    epochs = Fraction(step * recipe.batch_size, images)
    warmup = _fraction(schedule.warmup_epochs)
    if epochs < warmup:
        span = schedule.learning_rate - schedule.warmup_start
        return _float32(schedule.warmup_start + span * float(epochs / warmup))
    if schedule.kind == "staircase":
        stairs = (epochs - warmup) // _fraction(schedule.decay_epochs)
        return _float32(schedule.learning_rate * schedule.decay_rate**stairs)
    whole = _fraction(recipe.epochs) - warmup
    share = min(1.0, float((epochs - warmup) / whole)) if whole else 1.0
    return _float32(schedule.learning_rate * (1.0 + math.cos(math.pi * share)) / 2.0)


def ema_decay(ema: Ema, updates: int) -> float:
    """Returns the weight of the old average in the update that follows ``updates`` others.

    Source: the warm-up is that of ``tf.train.ExponentialMovingAverage`` with ``num_updates``.
    """
    return min(ema.decay, (1 + updates) / (10 + updates)) if ema.warmup else ema.decay


def first_loss_scale(precision: str, recorded: float) -> float:
    """Returns the loss scale to start or to continue with: 1 except in float16.

    Args:
        precision: of the gradients.
        recorded: that of the checkpoint, 1 where it was not trained in float16.
    """
    if precision != "float16":
        return 1.0
    return INITIAL_LOSS_SCALE if recorded == 1.0 else recorded


def next_loss_scale(scale: float, good_steps: int, finite: bool) -> tuple[float, int]:
    """Returns the loss scale, at least 1, and the steps since it last changed, after a step.

    Args:
        scale: what the loss was multiplied by.
        good_steps: steps with finite gradients since the scale changed.
        finite: whether the step's gradients were; a step whose were not is left out.
    """
    if not finite:
        return max(1.0, scale * _SCALE_BACKOFF), 0
    if good_steps + 1 == _SCALE_INTERVAL:
        return scale * _SCALE_GROWTH, 0
    return scale, good_steps + 1


def _fraction(number: float) -> Fraction:
    # The decimal number in the recipe: 2.4, and not the float nearest to it.
    return Fraction(repr(number))


def _float32(number: float) -> float:
    return float(np.float32(number))
