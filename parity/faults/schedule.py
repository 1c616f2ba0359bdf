"""Faults in what changes from step to step."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tinynet.net import drop_path
from tinynet.training import loop, schedule

from parity.faults.planting import Group, Original

GROUP = Group("schedule")


@GROUP.fault(schedule.learning_rate, "schedule", "rate of step 6758", official=True)
def stairs_at_whole_epochs(right: Original, recipe: Any, step: int, images: int) -> float:
    """The staircase goes down at ends of epochs (3, 5, 8, 10, 12, ...) instead of every 2.4."""
    epoch = step * recipe.batch_size // images
    if recipe.schedule.kind != "staircase" or epoch < recipe.schedule.warmup_epochs:
        return right(recipe, step, images)
    return right(recipe, math.ceil(epoch * images / recipe.batch_size), images)


@GROUP.fault(schedule.learning_rate, "schedule", "rate of step 3755", official=True)
def decay_from_the_first_step(right: Original, recipe: Any, step: int, images: int) -> float:
    """The staircase counts from the first step, so that the recipe's rate is never reached."""
    rate = right(recipe, step, images)
    settings = recipe.schedule
    warmup = settings.warmup_epochs * images / recipe.batch_size
    if settings.kind != "staircase" or step < warmup:
        return rate
    stairs = step * recipe.batch_size / images // settings.decay_epochs
    return settings.learning_rate * settings.decay_rate**stairs


@GROUP.fault(schedule.learning_rate, "schedule", "rate of step 1")
def an_epoch_ahead(right: Original, recipe: Any, step: int, images: int) -> float:
    """Learning rates are those of an epoch later."""
    return right(recipe, step + images // recipe.batch_size, images)


@GROUP.fault(schedule.total_steps, "schedule", "number of steps")
def last_steps_left_out(right: Original, recipe: Any, images: int) -> int:
    """A run ends with its last full batch."""
    return int(recipe.epochs * images) // recipe.batch_size


@GROUP.fault(schedule.ema_decay, "schedule", "decay after 0 updates")
def average_without_warm_up(right: Original, ema: Any, updates: int) -> float:
    """The average has its whole inertia from the first step, although the recipe warms it up."""
    return right(dataclasses.replace(ema, warmup=False), updates)


@GROUP.fault(drop_path.drop_path_rates, "schedule", "rate of each block")
def all_blocks_drop_alike(right: Original, spec: Any, rate: float) -> tuple[float, ...]:
    """Every block with a skip is left out with the same probability, whatever its depth."""
    return tuple(rate * block.has_skip for block in spec.blocks())


@GROUP.fault(
    "tinynet.training.loop:learning_rate", "schedule", "rate of step 2", answers=loop.train
)
def rates_a_step_late(right: Original, recipe: Any, step: int, images: int) -> float:
    """Each step of the loop takes the learning rate of the one before it."""
    return right(recipe, max(step - 1, 0), images)
