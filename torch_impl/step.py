"""One optimizer step in PyTorch, and everything that it changes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tinynet.backend.values import Array, Group
from tinynet.checkpoints.training_state import TrainingState
from tinynet.data.loader import TrainingBatch
from tinynet.net.manifest import State
from tinynet.recipe import training_spec
from tinynet.training.schedule import next_loss_scale
from tinynet.training.step import StepBase

from torch_impl.data import Normalise, to_device
from torch_impl.distributed import Device, average, broadcast
from torch_impl.loss import cross_entropy
from torch_impl.model import Net, canonical_tensors, make_net
from torch_impl.optim import OPTIMIZERS, Average
from torch_impl.predict import Predictor

# As in optim.py: functions for whole lists, which torch exports without types.
_torch: Any = torch

# float64 is for a reference. tf32 is what CUDA makes of float32 where it may, and there alone. The
# others compute convolutions and the classifier in that precision and keep weights, statistics and
# loss in float32.
PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "float64")
# Compiling takes a minute or more and pays on a GPU, and in long runs, only.
COMPILED = False


class TrainStep(StepBase[torch.Tensor]):
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
        double = precision == "float64"
        self.net = make_net(training_spec(spec, recipe), state.weights)
        self.net.to(group.device, torch.float64 if double else torch.float32)
        # Channels last is faster, but not in the kernels that a CPU has for float64.
        self.memory_format = torch.contiguous_format if double else torch.channels_last
        # Documented, but not in its types.
        self.net.to(memory_format=self.memory_format)  # pyright: ignore[reportCallIssue]
        super().__init__(state, group, accumulation, precision, canonical_tensors(self.net))
        optimizer = recipe.optimizer
        self.optimizer = OPTIMIZERS[optimizer.kind](self.trained, self.decayed, optimizer)
        self.average = None if state.ema is None else Average(self.tensors)
        self.fill(state)
        self.normalise = Normalise(spec.preprocessing)
        broadcast([tensor.detach() for tensor in self.everything()], group)
        self.shared = _shared(self.net, group)
        self.forward = _compiled(self.shared, group) if compiled else self.shared

    def __call__(
        self,
        batches: Sequence[TrainingBatch],
        learning_rate: float,
        ema_decay: float | None,
        stop: bool = False,
    ) -> torch.Tensor:
        """Takes one step."""
        # At each step, since choosing a device in between, as a predictor does, switches them off.
        torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = self.precision == "tf32"
        self.net.train()
        for parameter in self.trained:
            parameter.grad = None
        loss = self._backward(batches)
        report = torch.stack([loss, torch.full_like(loss, float(stop))])
        average([report], self.group)
        gradients: list[Any] = [parameter.grad for parameter in self.trained]
        if self._unscale(gradients):
            self.optimizer(gradients, learning_rate)
        if self.average is not None and ema_decay is not None:
            self.average(1.0 - ema_decay)
        return report

    def predictor(self, ema: bool) -> Predictor:
        """Returns the net of now, ready to answer, in float32."""
        averages = self.average.averages if self.average else self.tensors
        tensors = averages if ema else self.tensors
        self._predictor.write(self._singles(tensors))
        return self._predictor

    def share(self, tensors: list[torch.Tensor]) -> None:
        average(tensors, self.group)

    def to_array(self, tensor: torch.Tensor) -> Array:
        return tensor.detach().cpu().numpy().copy(order="C")  # channels-last weights are strided

    def set_array(self, tensor: torch.Tensor, array: Array) -> None:
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(array))

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.spec, self._singles(self.tensors), self.group.device.type)

    def _singles(self, tensors: Sequence[torch.Tensor]) -> State:
        return self.arrays(self.keys, [tensor.float() for tensor in tensors])

    def _backward(self, batches: Sequence[TrainingBatch]) -> torch.Tensor:
        losses = []
        statistics = _Statistics(self.statistics) if self.accumulation > 1 else None
        for index, batch in enumerate(batches):
            images, labels, dropout, drop_path = to_device(batch, self.group.device)
            pixels = self.normalise(images)
            pixels = pixels.to(self.trained[0].dtype, memory_format=self.memory_format)
            with self._exchange(index == len(batches) - 1):
                with self._autocast():
                    logits = self.forward(pixels, dropout, drop_path)
                loss = cross_entropy(logits.to(pixels.dtype), labels, self.recipe.label_smoothing)
                (loss * (self.loss_scale / self.accumulation)).backward()
            losses.append(loss.detach())
            if statistics is not None:
                statistics.fold()
        if statistics is not None:
            statistics.finish(self.accumulation)
        return torch.stack(losses).mean()

    def _exchange(self, last: bool) -> contextlib.AbstractContextManager[object]:
        # Gradients are exchanged once a step, after the last part.
        if last or not isinstance(self.shared, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.shared.no_sync()

    def _unscale(self, gradients: list[torch.Tensor]) -> bool:
        if self.precision != "float16":
            return True
        _torch._foreach_mul_(gradients, 1.0 / self.loss_scale)
        finite = bool(torch.stack(_torch._foreach_norm(gradients)).sum().isfinite())
        self.loss_scale, self.good_steps = next_loss_scale(self.loss_scale, self.good_steps, finite)
        return finite

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.precision not in ("bfloat16", "float16"):
            return contextlib.nullcontext()
        return torch.autocast(self.group.device.type, getattr(torch, self.precision))


def check_precision(precision: str, device: Device) -> None:
    """Refuses a precision that is none, or that the device has not.

    Raises:
        ValueError: naming the ones there are.
    """
    # A CPU would compute float32 under that name.
    known = [p for p in PRECISIONS if device.type == "cuda" or p != "tf32"]
    if precision not in known:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(known)}")


class _Statistics:
    # Batch-norm statistics of a batch in parts: each part moves them from where they were before
    # the step, and the step moves them to the mean of that, as parts on several ranks do.
    def __init__(self, statistics: list[torch.Tensor]):
        self.statistics = statistics
        self.before = [tensor.clone() for tensor in statistics]
        self.sums = [torch.zeros_like(tensor) for tensor in statistics]

    def fold(self) -> None:
        _torch._foreach_add_(self.sums, self.statistics)
        _torch._foreach_copy_(self.statistics, self.before)

    def finish(self, parts: int) -> None:
        _torch._foreach_div_(self.sums, parts)
        _torch._foreach_copy_(self.statistics, self.sums)


def _shared(net: Net, group: Group[Device]) -> nn.Module:
    # Gradients become means over all processes as soon as they are computed. Batch-norm
    # statistics are averaged by synchronise, not taken from the first process.
    if group.size == 1:
        return net
    devices = [torch.cuda.current_device()] if group.device.type == "cuda" else None
    return DistributedDataParallel(net, device_ids=devices, forward_sync_buffers=False)


def _compiled(net: nn.Module, group: Group[Device]) -> Any:
    # On a GPU a step of a small net waits for Python to launch its kernels, so the compiled ones
    # are launched as one CUDA graph. Not with an exchange of gradients within it.
    graphs = group.device.type == "cuda" and group.size == 1
    return torch.compile(net, mode="reduce-overhead" if graphs else "default")
