"""Parts of training: what a batch becomes, and updates on gradients that are given."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tinynet.backend.values import Arrays
from tinynet.checkpoints.training_state import TrainingState
from tinynet.data.loader import TrainingBatch
from tinynet.net.manifest import State
from tinynet.spec import Preprocessing

from torch_impl.data import Normalise, to_device
from torch_impl.distributed import join
from torch_impl.predict import DEVICES
from torch_impl.probe.running import to_array
from torch_impl.step import PRECISIONS, TrainStep


def update(
    state: TrainingState,
    gradients: Sequence[State],
    learning_rates: Sequence[float],
    ema_decays: Sequence[float],
    precision: str = PRECISIONS[0],
    device: str = DEVICES[0],
) -> TrainingState:
    """Takes optimizer steps on gradients that are given, each followed by the average."""
    step = TrainStep(state, join(device), precision=precision)
    kind = step.trained[0].dtype
    for own, rate, decay in zip(gradients, learning_rates, ema_decays, strict=True):
        tensors = [torch.tensor(own[key], dtype=kind, device=device) for key in step.trained_keys]
        step.optimizer(tensors, rate)
        if step.average is not None:
            step.average(1.0 - decay)
    return step.read(state.progress)


def fed(batch: TrainingBatch, preprocessing: Preprocessing) -> Arrays:
    """Returns what training feeds the net of a batch."""
    tensors = to_device(batch, join(DEVICES[0]).device)
    found = tensors._asdict() | {"pixels": Normalise(preprocessing)(tensors.images)}
    del found["images"]
    return {name: to_array(tensor) for name, tensor in found.items() if tensor is not None}
