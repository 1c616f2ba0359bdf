"""How a net runs that is probed, and arrays in and out of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from tinynet.backend.values import Array

from torch_impl.model import Net
from torch_impl.predict import running


@contextmanager
def running_in(net: Net, mode: str) -> Iterator[None]:
    """Runs what is inside in one of the ``MODES`` of predict, in the precision of the net."""
    # On CUDA PyTorch convolves float32 with the ten bits of TF32 unless it is told not to.
    cudnn: Any = torch.backends.cudnn  # whose attributes PyTorch's types do not know
    matmul = torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = net.precision == "tf32"
    try:
        with running(mode):
            yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def to_tensor(values: Array, net: Net) -> torch.Tensor:
    """Makes an input for a net, in its precision."""
    weight = next(net.parameters())
    return torch.tensor(values, dtype=weight.dtype, device=weight.device)


def to_array(tensor: torch.Tensor) -> Array:
    """Copies a tensor."""
    # NumPy has no bfloat16; float32 holds it and float16 exactly.
    tensor = tensor.detach().cpu()
    return np.array((tensor if tensor.dtype == torch.float64 else tensor.float()).numpy())
