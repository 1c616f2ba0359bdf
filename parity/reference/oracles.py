"""What changes from step to step in training, computed once more by other arithmetic.

``tinynet.training.schedule`` and its neighbours are shared by both twins: a mistake in them moves
both alike, and comparing the twins would never show it. Marks identify what is drawn at random,
which must never change.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinynet.net.manifest import manifest
from tinynet.recipe import Ema, Recipe
from tinynet.spec import Spec


def learning_rates(recipe: Recipe, images: int, steps: Sequence[int]) -> list[float]:
    """Returns the learning rates of some steps, counted from 0, in float64.

    ``images`` is the number of training images.

    Source: the recipe's fields as docs/training.md defines them.
    """
    schedule = recipe.schedule
    rates: list[float] = []
    for step in steps:
        # In images, not epochs: integers, which are exact except for the recipe's own decimals.
        seen = step * recipe.batch_size
        warmup = schedule.warmup_epochs * images
        if seen < warmup - 1e-9 * images:
            rise = (schedule.learning_rate - schedule.warmup_start) / warmup
            rates.append(schedule.warmup_start + rise * seen)
        elif schedule.kind == "staircase":
            stair = schedule.decay_epochs * images
            # A step on the edge of a stair belongs to the next one.
            done = math.floor((seen - warmup) / stair + 1e-9)
            rates.append(schedule.learning_rate * math.pow(schedule.decay_rate, done))
        else:
            share = min(1.0, (seen - warmup) / (recipe.epochs * images - warmup))
            rates.append(schedule.learning_rate * math.cos(math.pi * share / 2.0) ** 2)
    return rates


def ema_decays(ema: Ema, updates: Sequence[int]) -> list[float]:
    """Returns the weight of the old average after so many updates, in float64."""
    if not ema.warmup:
        return [ema.decay for _ in updates]
    return [min(ema.decay, 1.0 - 9.0 / (10.0 + done)) for done in updates]


def drop_path_rates(spec: Spec, rate: float) -> list[float]:
    """Returns each block's probability of being left out; 0 where nothing is added."""
    skips = [block.has_skip for stage in spec.blocks_by_stage() for block in stage]
    if spec.is_resnet:
        return [float(share) for share in np.linspace(0.0, rate, len(skips))]
    step = rate / len(skips)
    return [step * place * skip for place, skip in enumerate(skips)]


def initial_deviations(spec: Spec) -> dict[str, float]:
    """Returns the standard deviation that each initial weight is drawn with, by canonical key.

    A convolution's is the root of 2 / fan-out. Fan-out counts the outputs that an input feeds: in
    a depthwise convolution those of its own channel only.

    Source: as :func:`tinynet.net.initialise.initial_state`.
    """
    deviations: dict[str, float] = {}
    for key, entry in manifest(spec).items():
        if entry.role == "conv_weight":
            out_channels, _, height, width = entry.shape
            feeds = 1 if key.endswith(".conv_dw.weight") else out_channels
            deviations[key] = math.sqrt(2.0 / (feeds * height * width))
        elif entry.role == "linear_weight":
            # Uniform between -a and a.
            fan = entry.shape[1] if spec.is_resnet else entry.shape[0]
            deviations[key] = 1.0 / math.sqrt(3.0 * fan)
    return deviations


def mark(*arrays: NDArray[np.generic]) -> str:
    """Returns a hash of the arrays' bytes, by which they are recognised."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def unmarked(expected: str, otherwise: str, *arrays: NDArray[np.generic]) -> str:
    """Says how arrays differ from those that have a mark; empty where they do not."""
    found = mark(*arrays)
    return "" if found == expected else f"marked {found}, expected {expected}: {otherwise}"
