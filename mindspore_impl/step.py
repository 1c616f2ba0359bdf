"""One optimizer step in MindSpore, and everything that it changes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from tinynet.backend.values import Array, Group
from tinynet.checkpoints.training_state import TrainingState
from tinynet.data.loader import TrainingBatch
from tinynet.recipe import training_spec
from tinynet.spec import Preprocessing
from tinynet.training.schedule import next_loss_scale
from tinynet.training.step import StepBase

from mindspore_impl.data import Normalise, to_device
from mindspore_impl.distributed import Device, average, broadcast, total
from mindspore_impl.loss import cross_entropy
from mindspore_impl.model import Net, canonical_tensors, in_precision, make_net
from mindspore_impl.optim import OPTIMIZERS, Average
from mindspore_impl.predict import Predictor, running

# The others than float32 compute convolutions and the classifier in that precision and keep
# weights, statistics and loss in float32.
PRECISIONS = ("float32", "bfloat16", "float16")
# Compiling takes seconds and makes a step several times faster.
COMPILED = True


class TrainStep(StepBase[ms.Parameter]):
    """Net, optimizer and average of a run, on one device."""

    def __init__(
        self,
        state: TrainingState,
        group: Group[Device],
        accumulation: int = 1,
        precision: str = PRECISIONS[0],
        compiled: bool = COMPILED,
    ):
        check_precision(precision, group.device)
        spec, recipe = state.progress.spec, state.progress.recipe
        self.mode = "graph" if compiled else "pynative"
        if compiled:
            _check_compiler_cache()
        else:
            # One by one operations take half the time that they take from PyNative's queue.
            ms.runtime.launch_blocking()
        self.net = make_net(training_spec(spec, recipe), state.weights)
        in_precision(self.net, precision)
        super().__init__(state, group, accumulation, precision, canonical_tensors(self.net))
        optimizer = recipe.optimizer
        self.optimizer = OPTIMIZERS[optimizer.kind](self.trained, self.decayed, optimizer)
        self.average = None if state.ema is None else Average(self.tensors)
        self.fill(state)
        broadcast(self.everything(), group)
        gradients = _Gradients(self.net, self.trained, spec.preprocessing, recipe.label_smoothing)
        update = _Update(self.optimizer, self.average, self.trained, group)
        # One graph where a step needs no decision between its gradients and its update.
        self.whole = self.part = None
        if accumulation == 1 and precision != "float16":
            self.whole = _Whole(gradients, update).set_train()
        else:
            self.part = _Part(gradients, self.trained, self.statistics, accumulation).set_train()
            self.rest = _Rest(update, self.part).set_train()
            self.rest_without_update = _Rest(update, self.part, updates=False).set_train()

    def __call__(
        self,
        batches: Sequence[TrainingBatch],
        learning_rate: float,
        ema_decay: float | None,
        stop: bool = False,
    ) -> ms.Tensor:
        """Takes one step."""
        # In float32 1 - 0.9999 would be off by 1.7e-4 of itself.
        share = 1.0 - (ema_decay or 0.0)
        rate, share, asked = (_scalar(n) for n in (learning_rate, share, stop))
        with running(self.mode):
            if self.whole is not None:
                return self.whole(*to_device(batches[0], self.group.device), rate, share, asked)
            loss = self._backward(batches)
            rest, inverse = self._unscale()
            return rest(loss, rate, share, asked, inverse)

    def predictor(self, ema: bool) -> Predictor:
        """Returns the net of now, ready to answer, in float32."""
        averages = self.average.averages if self.average else self.tensors
        tensors = averages if ema else self.tensors
        self._predictor.write(self.arrays(self.keys, tensors))
        return self._predictor

    def share(self, tensors: list[ms.Parameter]) -> None:
        average(tensors, self.group)
        if self.part is not None:
            # The next step's parts start from here too.
            for before, tensor in zip(self.part.before, self.statistics, strict=True):
                before.set_data(tensor.copy())

    def to_array(self, tensor: ms.Parameter) -> Array:
        return tensor.asnumpy().copy(order="C")  # may share its memory with the parameter

    def set_array(self, tensor: ms.Parameter, array: Array) -> None:
        tensor.set_data(ms.Tensor(array))

    @cached_property
    def _predictor(self) -> Predictor:
        state = self.arrays(self.keys, self.tensors)
        return Predictor(self.spec, state, self.group.device, self.mode)

    def _backward(self, batches: Sequence[TrainingBatch]) -> ms.Tensor:
        scale = _scalar(self.loss_scale)
        losses = [self.part(*to_device(batch, self.group.device), scale) for batch in batches]
        return ops.stack(losses).mean()

    def _unscale(self) -> tuple[nn.Cell, ms.Tensor]:
        inverse = _scalar(1.0 / self.loss_scale)
        if self.precision != "float16":
            return self.rest, inverse
        overflows = np.array([not self.part.is_finite()], np.float64)
        finite = not total(overflows, self.group).any()
        self.loss_scale, self.good_steps = next_loss_scale(self.loss_scale, self.good_steps, finite)
        return (self.rest if finite else self.rest_without_update), inverse


def check_precision(precision: str, device: Device) -> None:
    """Refuses a precision that is none, or that the device has not.

    Raises:
        ValueError: naming the ones there are.
    """
    # No CPU kernel takes bfloat16 (MindSpore 2.10).
    known = [p for p in PRECISIONS if device != "cpu" or p != "bfloat16"]
    if precision not in known:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(known)}")


def _check_compiler_cache() -> None:
    # MindSpore 2.10 looks up a compiled graph by its code and shapes, not by the numbers built into
    # it: a run with another decay of the mean squares silently trained with the cached one.
    if os.environ.get("MS_COMPILER_CACHE_ENABLE") == "1":
        raise ValueError(
            "MS_COMPILER_CACHE_ENABLE is 1, expected it unset: MindSpore's compiler cache does not "
            "notice a changed recipe and would train by the old one"
        )


class _Loss(nn.Cell):
    def __init__(self, net: Net, preprocessing: Preprocessing, label_smoothing: float):
        super().__init__(auto_prefix=False)
        self.net = net
        self.normalise = Normalise(preprocessing)
        self.label_smoothing = label_smoothing

    def construct(
        self,
        images: ms.Tensor,
        labels: ms.Tensor,
        dropout: ms.Tensor | None,
        drop_path: ms.Tensor | None,
        scale: ms.Tensor,
    ) -> ms.Tensor:
        logits = self.net(self.normalise(images), dropout, drop_path)
        loss = cross_entropy(logits.astype(ms.float32), labels, self.label_smoothing)
        return loss * scale


class _Gradients(nn.Cell):
    def __init__(
        self,
        net: Net,
        trained: list[ms.Parameter],
        preprocessing: Preprocessing,
        label_smoothing: float,
    ):
        super().__init__(auto_prefix=False)
        # As a child, which set_train reaches.
        self.loss = _Loss(net, preprocessing, label_smoothing)
        self.compute = ops.value_and_grad(self.loss, None, ms.ParameterTuple(trained))

    def construct(self, *batch_and_scale: ms.Tensor | None) -> tuple[ms.Tensor, tuple]:
        loss, gradients = self.compute(*batch_and_scale)
        return loss / batch_and_scale[-1], gradients


class _Update(nn.Cell):
    def __init__(
        self,
        optimizer: nn.Cell,
        average: Average | None,
        trained: list[ms.Parameter],
        group: Group[Device],
    ):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.average = average
        self.size = group.size
        if group.size > 1:
            self.exchange = nn.DistributedGradReducer(trained, mean=True, degree=group.size)
            self.sum = ops.AllReduce()

    def construct(
        self,
        gradients: tuple,
        loss: ms.Tensor,
        learning_rate: ms.Tensor,
        share: ms.Tensor,
        stop: ms.Tensor,
        updates: bool = True,
    ) -> ms.Tensor:
        if updates:
            if self.size > 1:
                gradients = self.exchange(gradients)
            self.optimizer(gradients, learning_rate)
        if self.average is not None:
            self.average(share)
        report = ops.stack((loss, stop))
        return self.sum(report) / self.size if self.size > 1 else report


class _Whole(nn.Cell):
    def __init__(self, gradients: _Gradients, update: _Update):
        super().__init__(auto_prefix=False)
        self.gradients = gradients
        self.update = update
        self.one = _scalar(1.0)

    def construct(self, *batch_and_rates: ms.Tensor | None) -> ms.Tensor:
        loss, gradients = self.gradients(*batch_and_rates[:4], self.one)
        return self.update(gradients, loss, *batch_and_rates[4:])


class _Part(nn.Cell):
    # Batch-norm statistics of a batch in parts: each part moves them from where they were before
    # the step, and the step moves them to the mean of that, as parts on several ranks do.
    def __init__(
        self,
        gradients: _Gradients,
        trained: list[ms.Parameter],
        statistics: list[ms.Parameter],
        parts: int,
    ):
        super().__init__(auto_prefix=False)
        self.gradients = gradients
        self.parts = parts
        self.sums = ms.ParameterTuple(trained).clone("sum", "zeros")
        self.statistics = ms.ParameterTuple(statistics)
        self.before = self.statistics.clone("before", "same")
        self.moved = self.statistics.clone("moved", "zeros")

    def construct(self, *batch_and_scale: ms.Tensor | None) -> ms.Tensor:
        loss, gradients = self.gradients(*batch_and_scale)
        for index in range(len(self.sums)):
            ops.assign_add(self.sums[index], gradients[index] / self.parts)
        for index in range(len(self.statistics)):
            ops.assign_add(self.moved[index], self.statistics[index])
            ops.assign(self.statistics[index], self.before[index])
        return loss

    def is_finite(self) -> bool:
        squares = ops.stack([(values * values).sum() for values in self.sums])
        return bool(ops.isfinite(squares.sum()).item())


class _Rest(nn.Cell):
    def __init__(self, update: _Update, part: _Part, updates: bool = True):
        super().__init__(auto_prefix=False)
        self.update = update
        self.updates = updates
        self.sums = part.sums
        self.statistics, self.before, self.moved = part.statistics, part.before, part.moved
        self.parts = part.parts

    def construct(
        self,
        loss: ms.Tensor,
        learning_rate: ms.Tensor,
        share: ms.Tensor,
        stop: ms.Tensor,
        inverse_scale: ms.Tensor,
    ) -> ms.Tensor:
        gradients = ()
        for values in self.sums:
            gradients += (values * inverse_scale,)
        for index in range(len(self.statistics)):
            mean = self.moved[index] / self.parts
            ops.assign(self.statistics[index], mean)
            ops.assign(self.before[index], mean)
            ops.assign(self.moved[index], ops.zeros_like(mean))
        report = self.update(gradients, loss, learning_rate, share, stop, self.updates)
        for values in self.sums:
            ops.assign(values, ops.zeros_like(values))
        return report


def _scalar(number: float) -> ms.Tensor:
    return ms.Tensor(number, ms.float32)
