"""Faults in the average of the weights (EMA)."""

from __future__ import annotations

import dataclasses
from typing import Any

from parity.faults.planting import BOTH, Group, Original

GROUP = Group("average")


@GROUP.fault("optim:Average.__init__", "ema", "bn1.running_mean", BOTH)
def statistics_not_averaged(right: Original, layer: Any, tensors: Any) -> None:
    """The average has the weights only and leaves batch-norm statistics as they were."""
    right(layer, tensors)
    # An average of itself never moves.
    kept = (t if t.requires_grad else a for t, a in zip(tensors, layer.averages, strict=True))
    layer.tensors = type(layer.tensors)(kept)


@GROUP.fault("optim:Average.forward", "ema", "conv_stem.weight", ("torch",))
def share_and_decay_confused(right: Original, layer: Any, share: float) -> Any:
    """The average takes the weight of the old for that of the new."""
    return right(layer, 1.0 - share)


@GROUP.fault(
    "step:TrainStep.__call__", "trajectory", "averaged weights", ("mindspore",), official=True
)
def averaged_once_an_epoch(
    right: Original, step: Any, batches: Any, rate: float, decay: float, *args: Any
) -> Any:
    """The average is updated once an epoch instead of once a step."""
    done = right.memory[id(step)] = right.memory.get(id(step), 0) + 1
    # Epochs of two and a half steps.
    return right(step, batches, rate, 1.0 if done % 3 else decay, *args)


@GROUP.fault("step:TrainStep.predictor", "metrics", "mean loss with averaged weights", ("torch",))
def raw_weights_judged_as_averaged(right: Original, step: Any, ema: bool) -> Any:
    """Training evaluates its raw weights twice and never the averaged ones."""
    return right(step, ema=False)


@GROUP.fault("step:TrainStep.__init__", "resume", "ema.conv_stem.weight", BOTH, official=True)
def average_lost_on_resuming(
    right: Original, step: Any, state: Any, *args: Any, **settings: Any
) -> None:
    """The average lives outside of the checkpoint: a resumed run starts it from its weights."""
    if state.progress.step > 0:
        state = dataclasses.replace(state, ema=dict(state.weights))
    right(step, state, *args, **settings)
