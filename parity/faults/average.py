"""Faults in the average of the weights (EMA)."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (what stands in for a function takes whatever that takes)

from __future__ import annotations

import dataclasses
from typing import Any

from tinynet.backend import Backend

from parity.faults.planting import BOTH, Group, Injection, forward, replaced

GROUP = Group("average")


@GROUP.fault("ema", "bn1.running_mean", "optim", "Average", BOTH)
def statistics_not_averaged(twin: Backend) -> Injection:
    """The average has the weights only and leaves batch-norm statistics as they were."""

    def faulty(right: Any, layer: Any, tensors: Any) -> None:
        right(layer, tensors)
        # An average of itself never moves.
        kept = (t if t.requires_grad else a for t, a in zip(tensors, layer.averages, strict=True))
        layer.tensors = type(layer.tensors)(kept)

    return replaced(twin.optim.Average, "__init__", faulty)


@GROUP.fault("ema", "conv_stem.weight", "optim", "Average", ("torch",))
def share_and_decay_confused(twin: Backend) -> Injection:
    """The average takes the weight of the old for that of the new."""
    return replaced(
        twin.optim.Average, forward(twin), lambda right, layer, share: right(layer, 1.0 - share)
    )


@GROUP.fault("trajectory", "averaged weights", "step", "TrainStep", ("mindspore",), official=True)
def averaged_once_an_epoch(twin: Backend) -> Injection:
    """The average is updated once an epoch instead of once a step."""
    done: dict[int, int] = {}

    def faulty(right: Any, step: Any, batches: Any, rate: float, decay: float, *args: Any) -> Any:
        done[id(step)] = done.get(id(step), 0) + 1
        # Epochs of two and a half steps.
        return right(step, batches, rate, 1.0 if done[id(step)] % 3 else decay, *args)

    return replaced(twin.step.TrainStep, "__call__", faulty)


@GROUP.fault("metrics", "mean loss with averaged weights", "step", "TrainStep", ("torch",))
def raw_weights_judged_as_averaged(twin: Backend) -> Injection:
    """Training judges its raw weights twice and never the averaged ones."""
    return replaced(
        twin.step.TrainStep, "predictor", lambda right, step, ema: right(step, ema=False)
    )


@GROUP.fault("resume", "ema.conv_stem.weight", "step", "TrainStep", BOTH, official=True)
def average_lost_on_resuming(twin: Backend) -> Injection:
    """The average lives outside of the checkpoint: a resumed run starts it from its weights."""

    def faulty(right: Any, step: Any, state: Any, *args: Any, **settings: Any) -> None:
        if state.progress.step > 0:
            state = dataclasses.replace(state, ema=dict(state.weights))
        right(step, state, *args, **settings)

    return replaced(twin.step.TrainStep, "__init__", faulty)
