"""What makes the PyTorch twin fast on CPUs, beside its mathematics."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

# Parameters of mallopt. Source: mallopt(3); the numbers are those of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_MALLOC_VARIABLES = {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}
# What autograd itself calls, which torch exports without types.
_aten: Any = torch.ops.aten


def tune_process() -> None:
    """Keeps freed memory in the process, unless the environment says how to allocate.

    glibc returns large blocks to the system as soon as they are freed, and a step on a CPU, which
    frees all its activations, spends a third of its time on getting them again.
    """
    libc = ctypes.CDLL(None)
    if _MALLOC_VARIABLES.isdisjoint(os.environ) and hasattr(libc, "mallopt"):  # not musl, macOS
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, -1)


def channel_means(x: torch.Tensor, training: bool) -> torch.Tensor:
    """Means over height and width: (N, C, H, W) to (N, C, 1, 1)."""
    if training:
        # The same bits, but the gradient of a mean is divided pixel by pixel, 3 % of a step.
        return torch.div(x.sum((2, 3), keepdim=True), x.shape[2] * x.shape[3])
    return x.mean((2, 3), keepdim=True)


class WideDepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution, 5 x 5, padded by 2, with stride 1 or 2.

    On CPUs oneDNN has a kernel for the gradients of depthwise weights that are at most 3 wide.
    Wider ones go the way of any convolution, which takes up to four times as long as the gradient
    here, 8 % of a step of TinyNet-E.
    """

    def __init__(self, channels: int, stride: int, bias: bool):
        super().__init__(channels, channels, 5, stride, 2, groups=channels, bias=bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self._is_slow(input):
            return super().forward(input)
        return _WideDepthwise.apply(input, self.weight, self.stride[0])

    def _is_slow(self, x: torch.Tensor) -> bool:
        # This is false outside of training, since an exporter would take the batch size for fixed.
        # Small ones take less time than the calls.
        if not (self.training and self.weight.requires_grad and self.bias is None):
            return False
        plain = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return plain and x.device.type == "cpu" and x.numel() >= 1 << 16


class _WideDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        (dy,) = grad_outputs
        x, weight = ctx.saved_tensors
        dx = _gradient(x, dy, weight, ctx.stride, (2, 2), of=0)
        dw = torch.zeros_like(weight)
        # In parts of at most 4 MiB, which stay in a cache while they are read three times.
        parts = 1 + (x.numel() >> 20)
        for x_part, dy_part in zip(x.chunk(parts), dy.chunk(parts), strict=True):
            dw += _weight_gradient(x_part, dy_part, weight, ctx.stride)
        return dx, dw, None


def _weight_gradient(
    x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor, stride: int
) -> torch.Tensor:
    # Column j of a weight meets column stride * q + j - 2 of x at column q of dy. What is 3 wide
    # and padded by 1 gives the columns 1 to 3, and of dy moved by one, those ``stride`` less or
    # more, of which 0 and 4 are taken. What was moved out of dy met only padding there.
    rows = 2
    if x.shape[2] < 5:  # the kernel wants as many rows as the weight has
        x, rows = F.pad(x, (0, 0, 2, 2)), 0

    def three_wide(dy: torch.Tensor) -> torch.Tensor:
        return _gradient(x, dy, weight[..., :3], stride, (rows, 1), of=1)

    left, right = three_wide(F.pad(dy, (-1, 1))), three_wide(F.pad(dy, (1, -1)))
    first, last = left[..., stride - 1 : stride], right[..., 3 - stride : 4 - stride]
    return torch.cat([first, three_wide(dy), last], 3)


def _gradient(
    x: torch.Tensor,
    dy: torch.Tensor,
    weight: torch.Tensor,
    stride: int,
    padding: tuple[int, int],
    of: int,
) -> torch.Tensor:
    # Of the input (0) or the weight (1) of a depthwise convolution.
    asked = [of == 0, of == 1, False]
    gradients = _aten.convolution_backward(
        dy, x, weight, None, [stride, stride], padding, [1, 1], False, [0, 0], len(weight), asked
    )
    return gradients[of]
