"""Faults in what changes from step to step."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (what stands in for a function takes whatever that takes)

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tinynet.net import drop_path
from tinynet.training import loop, schedule

from parity.faults.planting import Group, Injection, replaced

GROUP = Group("schedule")


@GROUP.fault(
    "schedule", "rate of step 6758", "tinynet/training/schedule", "learning_rate", official=True
)
def stairs_at_whole_epochs() -> Injection:
    """The staircase goes down at ends of epochs (3, 5, 8, 10, 12, ...) instead of every 2.4."""

    def faulty(right: Any, recipe: Any, step: int, images: int) -> float:
        epoch = step * recipe.batch_size // images
        if recipe.schedule.kind != "staircase" or epoch < recipe.schedule.warmup_epochs:
            return right(recipe, step, images)
        return right(recipe, math.ceil(epoch * images / recipe.batch_size), images)

    return replaced(schedule, "learning_rate", faulty)


@GROUP.fault(
    "schedule", "rate of step 3755", "tinynet/training/schedule", "learning_rate", official=True
)
def decay_from_the_first_step() -> Injection:
    """The staircase counts from the first step, so that the recipe's rate is never reached."""

    def faulty(right: Any, recipe: Any, step: int, images: int) -> float:
        rate = right(recipe, step, images)
        settings = recipe.schedule
        warmup = settings.warmup_epochs * images / recipe.batch_size
        if settings.kind != "staircase" or step < warmup:
            return rate
        stairs = step * recipe.batch_size / images // settings.decay_epochs
        return settings.learning_rate * settings.decay_rate**stairs

    return replaced(schedule, "learning_rate", faulty)


@GROUP.fault("schedule", "rate of step 1", "tinynet/training/schedule", "learning_rate")
def an_epoch_ahead() -> Injection:
    """Learning rates are those of an epoch later."""

    def faulty(right: Any, recipe: Any, step: int, images: int) -> float:
        return right(recipe, step + images // recipe.batch_size, images)

    return replaced(schedule, "learning_rate", faulty)


@GROUP.fault("schedule", "number of steps", "tinynet/training/schedule", "total_steps")
def last_steps_left_out() -> Injection:
    """A run ends with its last full batch."""

    def faulty(right: Any, recipe: Any, images: int) -> int:
        return int(recipe.epochs * images) // recipe.batch_size

    return replaced(schedule, "total_steps", faulty)


@GROUP.fault("schedule", "decay after 0 updates", "tinynet/training/schedule", "ema_decay")
def average_without_warm_up() -> Injection:
    """The average has its whole inertia from the first step, although the recipe warms it up."""
    return replaced(
        schedule,
        "ema_decay",
        lambda right, ema, updates: right(dataclasses.replace(ema, warmup=False), updates),
    )


@GROUP.fault("schedule", "rate of each block", "tinynet/net/drop_path", "drop_path_rates")
def all_blocks_drop_alike() -> Injection:
    """Every block with a skip is left out with the same probability, whatever its depth."""
    return replaced(
        drop_path,
        "drop_path_rates",
        lambda right, spec, rate: tuple(rate * block.has_skip for block in spec.blocks()),
    )


@GROUP.fault("schedule", "rate of step 2", "tinynet/training/loop", "train")
def rates_a_step_late() -> Injection:
    """Each step of the loop takes the learning rate of the one before it."""

    def faulty(right: Any, recipe: Any, step: int, images: int) -> float:
        return right(recipe, max(step - 1, 0), images)

    return replaced(loop, "learning_rate", faulty, here=True)
