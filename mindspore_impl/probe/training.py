"""Parts of training: what a batch becomes, and updates on gradients that are given."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms

from tinynet.backend.values import Arrays
from tinynet.checkpoints.training_state import TrainingState
from tinynet.data.loader import TrainingBatch
from tinynet.net.manifest import State
from tinynet.spec import Preprocessing

from mindspore_impl.data import Normalise, to_device
from mindspore_impl.distributed import join
from mindspore_impl.predict import DEVICES
from mindspore_impl.probe.running import to_array
from mindspore_impl.step import PRECISIONS, TrainStep


def update(
    state: TrainingState,
    gradients: Sequence[State],
    learning_rates: Sequence[float],
    ema_decays: Sequence[float],
    precision: str = PRECISIONS[0],
    device: str = DEVICES[0],
) -> TrainingState:
    """Takes optimizer steps on gradients that are given, each followed by the average."""
    step = TrainStep(state, join(device), precision=precision, compiled=False)
    for own, rate, decay in zip(gradients, learning_rates, ema_decays, strict=True):
        tensors = tuple(ms.Tensor(own[key], ms.float32) for key in step.trained_keys)
        step.optimizer(tensors, ms.Tensor(rate, ms.float32))
        if step.average is not None:
            step.average(ms.Tensor(1.0 - decay, ms.float32))
    return step.read(state.progress)


def fed(batch: TrainingBatch, preprocessing: Preprocessing) -> Arrays:
    """Returns what training feeds the net of a batch."""
    tensors = to_device(batch, join(DEVICES[0]).device)
    found = tensors._asdict() | {"pixels": Normalise(preprocessing)(tensors.images)}
    del found["images"]
    return {name: to_array(tensor) for name, tensor in found.items() if tensor is not None}
