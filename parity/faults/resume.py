"""Faults in checkpoints of training, and in going on from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tinynet.checkpoints import training_state
from tinynet.training import loop

from parity.faults.planting import BOTH, Group, Original, with_new_statistics

GROUP = Group("resume")


@GROUP.fault("step:TrainStep.__init__", "resume", "conv_stem.weight", BOTH, official=True)
def weights_only(right: Original, step: Any, state: Any, *args: Any, **settings: Any) -> None:
    """A resumed run has its weights only; what the optimizer kept and the average are lost."""
    if state.progress.step > 0:
        slots = {
            slot: {key: np.full_like(a, float(slot == "mean_square")) for key, a in arrays.items()}
            for slot, arrays in state.slots.items()
        }
        state = dataclasses.replace(state, slots=slots, ema=dict(state.weights))
    right(step, state, *args, **settings)


@GROUP.fault("step:TrainStep.__init__", "resume", "bn1.running_mean", ("mindspore",))
def statistics_lost(right: Original, step: Any, state: Any, *args: Any, **settings: Any) -> None:
    """A resumed run starts its batch-norm statistics again."""
    if state.progress.step > 0:
        state = dataclasses.replace(state, weights=with_new_statistics(state.weights))
    right(step, state, *args, **settings)


@GROUP.fault("tinynet.training.loop:load_batches", "resume", "conv_stem.weight", answers=loop.train)
def samples_from_the_beginning(
    right: Original, *args: Any, first_step: int, last_step: int, **settings: Any
) -> Any:
    """A resumed run begins with the first samples again."""
    return right(*args, first_step=0, last_step=last_step - first_step, **settings)


@GROUP.fault(training_state.unpack_training, "resume", "conv_stem.weight")
def progress_lost(right: Original, *args: Any) -> Any:
    """A checkpoint does not tell how far the run was: schedule and samples begin again."""
    state = right(*args)
    start = dataclasses.replace(state.progress, step=0, ema_updates=0)
    return dataclasses.replace(state, progress=start)


@GROUP.fault("native_files:save_training", "resume", "loss of step *", BOTH)
def momentum_not_moved(right: Original, path: Any, state: Any) -> None:
    """A run that moves to the other framework leaves the optimizer's momentum behind."""
    zeros = {key: np.zeros_like(array) for key, array in state.slots["momentum"].items()}
    right(path, dataclasses.replace(state, slots={**state.slots, "momentum": zeros}))
