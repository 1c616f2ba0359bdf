"""What a training step holds and gives back, in either twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from tinynet.backend.protocols import Predictor, Report
from tinynet.backend.values import Array, Group
from tinynet.checkpoints.training_state import Progress, TrainingState
from tinynet.data.loader import TrainingBatch
from tinynet.net.manifest import TRAINED_ROLES, State, manifest
from tinynet.training.schedule import first_loss_scale

T = TypeVar("T")


class StepBase(Generic[T]):
    """A run's tensors in lists of one order: canonical keys for all, and for the trained ones.

    A twin makes ``optimizer`` and ``average`` of the lists, and then calls :meth:`fill`.

    Args:
        state: where the run is.
        group: the processes that train together, and the device.
        accumulation: parts of a batch that pass through the net one after the other.
        precision: of convolutions and classifier.
        tensors: of the net, by canonical key.
    """

    optimizer: Any
    average: Any

    def __init__(
        self,
        state: TrainingState,
        group: Group[Any],
        accumulation: int,
        precision: str,
        tensors: Mapping[str, T],
    ):
        progress = state.progress
        self.spec, self.recipe = progress.spec, progress.recipe
        self.group = group
        self.accumulation = accumulation
        self.precision = precision
        self.loss_scale = first_loss_scale(precision, progress.loss_scale)
        self.good_steps = progress.good_steps
        entries = manifest(self.spec)
        self.keys = list(entries)
        self.trained_keys = [key for key, entry in entries.items() if entry.role in TRAINED_ROLES]
        self.tensors = [tensors[key] for key in entries]
        self.trained = [tensors[key] for key in self.trained_keys]
        self.statistics = [tensors[key] for key in entries if key not in self.trained_keys]
        self.decayed = [entries[key].decays for key in self.trained_keys]

    def fill(self, state: TrainingState) -> None:
        """Starts the optimizer and the average where the state has them."""
        for slot, arrays in state.slots.items():
            for key, tensor in zip(self.trained_keys, self.optimizer.slots[slot], strict=True):
                self.set_array(tensor, arrays[key])
        if state.ema is not None:
            for key, tensor in zip(self.keys, self.average.averages, strict=True):
                self.set_array(tensor, state.ema[key])

    def synchronise(self) -> None:
        """Averages batch-norm statistics over the processes.

        Each process moves its own towards what it sees. The update is linear, so averaging only
        when they are read gives what averaging at every step would.
        """
        if self.group.size == 1:
            return
        seen = list(self.statistics)
        if self.average:
            pairs = zip(self.keys, self.average.averages, strict=True)
            seen += [tensor for key, tensor in pairs if key not in self.trained_keys]
        self.share(seen)

    def read(self, progress: Progress) -> TrainingState:
        """Copies everything out, in the precision it is kept in.

        ``progress`` is where the run is; the loss scale in it is replaced.
        """
        self.synchronise()
        scale = {"loss_scale": self.loss_scale, "good_steps": self.good_steps}
        return TrainingState(
            weights=self.arrays(self.keys, self.tensors),
            ema=self.arrays(self.keys, self.average.averages) if self.average else None,
            slots={
                slot: self.arrays(self.trained_keys, tensors)
                for slot, tensors in self.optimizer.slots.items()
            },
            progress=dataclasses.replace(progress, **scale),
        )

    def arrays(self, keys: Sequence[str], tensors: Sequence[T]) -> State:
        """Copies of tensors, by key."""
        pairs = zip(keys, tensors, strict=True)
        return {key: self.to_array(tensor) for key, tensor in pairs}

    def everything(self) -> list[T]:
        """Returns all that a step changes: weights, statistics, averages and slots."""
        averages: Sequence[T] = self.average.averages if self.average else ()
        slots = [tensor for tensors in self.optimizer.slots.values() for tensor in tensors]
        return [*self.tensors, *averages, *slots]

    # What a twin adds

    def __call__(
        self,
        batches: Sequence[TrainingBatch],
        learning_rate: float,
        ema_decay: float | None,
        stop: bool = False,
    ) -> Report:
        """Takes one step.

        Args:
            batches: this process's parts of the batch, ``accumulation`` of them.
            learning_rate: from tinynet.training.schedule.
            ema_decay: from tinynet.training.schedule; None where nothing is averaged.
            stop: whether this process was asked to stop.

        Returns:
            (2,) on the device: the mean loss over all parts and processes, and the share of
            processes that were asked to stop.
        """
        raise NotImplementedError

    def predictor(self, ema: bool) -> Predictor:
        """Returns the net of now, ready to answer, in float32; ``ema`` takes the averaged state."""
        raise NotImplementedError

    def share(self, tensors: list[T]) -> None:
        """Replaces tensors by their mean over all processes."""
        raise NotImplementedError

    def to_array(self, tensor: T) -> Array:
        """Copies a tensor in C order, since training continues to change it."""
        raise NotImplementedError

    def set_array(self, tensor: T, array: Array) -> None:
        """Sets a tensor to an array."""
        raise NotImplementedError
