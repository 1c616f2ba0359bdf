"""One optimizer step in PyTorch, and everything that it changes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tinynet.backend.values import Group
from tinynet.checkpoints.training_state import Progress, TrainingState
from tinynet.data.loader import TrainingBatch
from tinynet.net.manifest import TRAINED_ROLES, State, manifest
from tinynet.recipe import training_spec
from tinynet.training.schedule import first_loss_scale, next_loss_scale

from torch_impl.data import Normalise, to_device
from torch_impl.distributed import Device, average, broadcast
from torch_impl.loss import cross_entropy
from torch_impl.model import Net, make_net
from torch_impl.optim import OPTIMIZERS, Average
from torch_impl.predict import Predictor

# As in optim.py: functions for whole lists, which torch exports without types.
_torch: Any = torch

# float64 is for a judge. tf32 is what CUDA makes of float32 where it may, and there alone. The
# others compute convolutions and the classifier in that precision and keep weights, statistics and
# loss in float32.
PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "float64")
# Compiling takes a minute or more and pays on a GPU, and in long runs, only.
COMPILED = False


class TrainStep:
    """Net, optimizer and average of a run, on one device.

    Args:
        state: where the run is.
        group: the processes that train together, and the device.
        accumulation: parts of a batch that pass through the net one after the other.
        precision: one of :data:`PRECISIONS`.
        compiled: compile the step before it runs first (torch.compile, graph mode).

    Raises:
        StateError: the state does not fit its spec.
        ValueError: a precision that is none, or that the device has not.
    """

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
        self.spec, self.recipe = spec, recipe
        self.group = group
        self.accumulation = accumulation
        self.precision = precision
        self.loss_scale = first_loss_scale(precision, state.progress.loss_scale)
        self.good_steps = state.progress.good_steps
        dtype = torch.float64 if precision == "float64" else torch.float32
        self.net = make_net(training_spec(spec, recipe), state.weights)
        self.net.to(group.device, dtype)
        # Channels last is faster, but not in the kernels that a CPU has for float64.
        double = precision == "float64"
        self.memory_format = torch.contiguous_format if double else torch.channels_last
        # Documented, but not in its types.
        self.net.to(memory_format=self.memory_format)  # pyright: ignore[reportCallIssue]
        entries = manifest(spec)
        tensors = self.net.state_dict(keep_vars=True)
        self.keys = list(entries)
        self.tensors = [tensors[key] for key in entries]
        self.trained_keys = [key for key, e in entries.items() if e.role in TRAINED_ROLES]
        self.trained = [tensors[key] for key in self.trained_keys]
        self.statistics = [tensors[key] for key in entries if key not in self.trained_keys]
        decayed = [entries[key].decays for key in self.trained_keys]
        self.optimizer = OPTIMIZERS[recipe.optimizer.kind](self.trained, decayed, recipe.optimizer)
        for slot, arrays in state.slots.items():
            _copy(arrays, self.trained_keys, self.optimizer.slots[slot])
        self.average = None
        if state.ema is not None:
            self.average = Average(self.tensors)
            _copy(state.ema, self.keys, self.average.averages)
        self.normalise = Normalise(spec.preprocessing)
        broadcast([tensor.detach() for tensor in self._all()], group)
        self.shared = _shared(self.net, group)
        self.forward = _compiled(self.shared, group) if compiled else self.shared

    def __call__(
        self,
        batches: Sequence[TrainingBatch],
        learning_rate: float,
        ema_decay: float | None,
        stop: bool = False,
    ) -> torch.Tensor:
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
        # At each step, since whoever chose a device in between, as a predictor does, has them off.
        torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = self.precision == "tf32"
        self.net.train()
        for parameter in self.trained:
            parameter.grad = None
        loss = self._backward(batches)
        report = torch.stack([loss, torch.full_like(loss, float(stop))])
        average([report], self.group)
        gradients = [parameter.grad for parameter in self.trained]
        if self._unscale(gradients):
            self.optimizer(gradients, learning_rate)
        if self.average is not None and ema_decay is not None:
            self.average(1.0 - ema_decay)
        return report

    def predictor(self, ema: bool) -> Predictor:
        """The net as it is now, ready to answer, in float32.

        Args:
            ema: with the averaged weights and statistics.
        """
        averages = self.average.averages if self.average else self.tensors
        tensors = averages if ema else self.tensors
        self._predictor.write(self._singles(tensors))
        return self._predictor

    def synchronise(self) -> None:
        """Averages batch-norm statistics over the processes.

        Each process moves its own towards what it sees. The update is linear, so averaging only
        when somebody looks gives what averaging at every step would.
        """
        if self.group.size == 1:
            return
        seen = list(self.statistics)
        if self.average is not None:
            pairs = zip(self.keys, self.average.averages, strict=True)
            seen += [tensor for key, tensor in pairs if key not in self.trained_keys]
        average(seen, self.group)

    def read(self, progress: Progress) -> TrainingState:
        """Copies everything out, in the precision it is kept in.

        Args:
            progress: where the run is; the loss scale in it is replaced.
        """
        self.synchronise()
        return TrainingState(
            weights=_arrays(self.keys, self.tensors),
            ema=None if self.average is None else _arrays(self.keys, self.average.averages),
            slots={
                slot: _arrays(self.trained_keys, tensors)
                for slot, tensors in self.optimizer.slots.items()
            },
            progress=dataclasses.replace(
                progress, loss_scale=self.loss_scale, good_steps=self.good_steps
            ),
        )

    @cached_property
    def _predictor(self) -> Predictor:
        state = self._singles(self.tensors)
        return Predictor(self.spec, state, self.group.device.type)

    def _singles(self, tensors: Sequence[torch.Tensor]) -> State:
        return _arrays(self.keys, [tensor.float() for tensor in tensors])

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
        # Gradients are exchanged once a step, behind the last part.
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

    def _all(self) -> list[torch.Tensor]:
        averages = [] if self.average is None else self.average.averages
        slots = [tensor for tensors in self.optimizer.slots.values() for tensor in tensors]
        return [*self.tensors, *averages, *slots]


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


@torch.no_grad()
def _copy(arrays: State, keys: list[str], tensors: list[torch.Tensor]) -> None:
    for key, tensor in zip(keys, tensors, strict=True):
        tensor.copy_(torch.from_numpy(arrays[key]))


def _arrays(keys: list[str], tensors: Sequence[torch.Tensor]) -> State:
    # Copies in C order: channels-last weights are strided, and training goes on underneath.
    return {
        key: tensor.detach().cpu().numpy().copy(order="C")
        for key, tensor in zip(keys, tensors, strict=True)
    }
