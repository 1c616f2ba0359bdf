"""Faults in checkpoints of training, and in going on from them."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (what stands in for a function takes whatever that takes)

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tinynet.backend import Backend
from tinynet.checkpoints import training_state
from tinynet.training import loop

from parity.faults.planting import BOTH, Group, Injection, replaced

GROUP = Group("resume")


@GROUP.fault("resume", "conv_stem.weight", "step", "TrainStep", BOTH, official=True)
def weights_only(twin: Backend) -> Injection:
    """A resumed run has its weights only; what the optimizer kept and the average are lost."""

    def fresh(state: Any) -> Any:
        slots = {
            slot: {key: np.full_like(a, float(slot == "mean_square")) for key, a in arrays.items()}
            for slot, arrays in state.slots.items()
        }
        return dataclasses.replace(state, slots=slots, ema=dict(state.weights))

    return _resumed(twin, fresh)


@GROUP.fault("resume", "bn1.running_mean", "step", "TrainStep", ("mindspore",))
def statistics_lost(twin: Backend) -> Injection:
    """A resumed run starts its batch-norm statistics anew."""

    def fresh(state: Any) -> Any:
        weights = {
            key: np.full_like(array, float(key.endswith("var"))) if ".running_" in key else array
            for key, array in state.weights.items()
        }
        return dataclasses.replace(state, weights=weights)

    return _resumed(twin, fresh)


def _resumed(twin: Backend, fresh: Any) -> Injection:
    def faulty(right: Any, step: Any, state: Any, *args: Any, **settings: Any) -> None:
        right(step, fresh(state) if state.progress.step > 0 else state, *args, **settings)

    return replaced(twin.step.TrainStep, "__init__", faulty)


@GROUP.fault("resume", "conv_stem.weight", "tinynet/training/loop", "train")
def samples_from_the_beginning() -> Injection:
    """A resumed run begins with the first samples again."""

    def faulty(right: Any, *args: Any, first_step: int, last_step: int, **settings: Any) -> Any:
        return right(*args, first_step=0, last_step=last_step - first_step, **settings)

    return replaced(loop, "load_batches", faulty, here=True)


@GROUP.fault("resume", "conv_stem.weight", "tinynet/checkpoints/training_state", "unpack_training")
def progress_lost() -> Injection:
    """A checkpoint does not tell how far the run was: schedule and samples begin again."""

    def faulty(right: Any, *args: Any) -> Any:
        state = right(*args)
        start = dataclasses.replace(state.progress, step=0, ema_updates=0)
        return dataclasses.replace(state, progress=start)

    return replaced(training_state, "unpack_training", faulty)


@GROUP.fault("resume", "loss of step *", "native_files", "save_training", BOTH)
def momentum_not_moved(twin: Backend) -> Injection:
    """A run that moves to the other framework leaves the optimizer's momentum behind."""

    def faulty(right: Any, path: Any, state: Any) -> None:
        zeros = {key: np.zeros_like(array) for key, array in state.slots["momentum"].items()}
        right(path, dataclasses.replace(state, slots={**state.slots, "momentum": zeros}))

    return replaced(twin.native_files, "save_training", faulty)
