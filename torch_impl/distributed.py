"""Training by several processes in PyTorch: NCCL on CUDA, Gloo on CPU, started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from tinynet.backend.values import Group

from torch_impl.predict import set_device

Device = torch.device


def join(device: str) -> Group[Device]:
    """Joins the processes that the launcher started, or stays alone without one."""
    set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Group(0, 1, torch.device(device))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return Group(dist.get_rank(), dist.get_world_size(), torch.device(device))


def leave() -> None:
    """Leaves the group; without one nothing happens."""
    if dist.is_initialized():
        dist.destroy_process_group()


def broadcast(tensors: Sequence[torch.Tensor], group: Group[Device]) -> None:
    """Gives every process the tensors of the first."""
    if group.size > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def average(tensors: Sequence[torch.Tensor], group: Group[Device]) -> None:
    """Replaces tensors by their mean over all processes."""
    if group.size > 1 and tensors:
        # As one, since each exchange costs the same whatever its size.
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= group.size
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def total(numbers: NDArray[np.float64], group: Group[Device]) -> NDArray[np.float64]:
    """Sums float64 numbers (N,) over all processes."""
    if group.size == 1:
        return numbers
    summed = torch.from_numpy(numbers).to(group.device)
    dist.all_reduce(summed)
    return summed.cpu().numpy()
