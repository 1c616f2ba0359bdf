"""Training by several processes in MindSpore: HCCL on Ascend, NCCL on GPU, MCCL on CPU, started
by msrun.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import communication as dist
from mindspore import ops
from numpy.typing import NDArray

from tinynet.backend.values import Group

from mindspore_impl.predict import set_device

Device = str

_PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h


def join(device: str) -> Group[Device]:
    """Joins the processes that the launcher started, or stays alone without one."""
    set_device(device)
    if int(os.environ.get("MS_WORKER_NUM", "1")) == 1:
        return Group(0, 1, device)
    # A signal that ends msrun leaves its processes running. They are told, and write a checkpoint.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    dist.init()
    return Group(dist.get_rank(), dist.get_group_size(), device)


def leave() -> None:
    """Leaves the group; without one nothing happens."""
    if int(os.environ.get("MS_WORKER_NUM", "1")) > 1:
        dist.release()


def broadcast(tensors: Sequence[ms.Tensor], group: Group[Device]) -> None:
    """Gives every process the tensors of the first."""
    if group.size > 1:
        for tensor in tensors:
            tensor.set_data(ops.Broadcast(0)((tensor,))[0])


def average(tensors: Sequence[ms.Tensor], group: Group[Device]) -> None:
    """Replaces tensors by their mean over all processes."""
    if group.size > 1 and tensors:
        # As one, since each exchange costs the same whatever its size.
        flat = ops.AllReduce()(ops.concat([tensor.flatten() for tensor in tensors]))
        start = 0
        for tensor in tensors:
            part = flat[start : start + tensor.size]
            tensor.set_data((part / group.size).reshape(tensor.shape))
            start += tensor.size


def total(numbers: NDArray[np.float64], group: Group[Device]) -> NDArray[np.float64]:
    """Sums float64 numbers (N,) over all processes."""
    if group.size == 1:
        return numbers
    # Devices without float64 would round counts above 2^24: in two exact halves.
    high = numbers.astype(np.float32)
    low = (numbers - high).astype(np.float32)
    summed = ops.AllReduce()(ms.Tensor(np.concatenate([high, low]))).asnumpy().astype(np.float64)
    return summed[: len(numbers)] + summed[len(numbers) :]
