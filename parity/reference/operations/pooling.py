"""The max pool of a stem, and the mean over height and width."""

from __future__ import annotations

import numpy as np

from tinynet.spec import Padding

from parity.reference.operations.arrays import Array, widened
from parity.reference.operations.windows import inside, output_size, pad, taps


@widened
def max_pool(x: Array, kernel_size: int, stride: int, padding: Padding) -> Array:
    """Returns the largest pixel of each window, which padding never is, as (N, C, H', W')."""
    padded, kernel = pad(x, padding, -np.inf), (kernel_size, kernel_size)
    size = output_size(padded, kernel, stride)
    windows = [padded[window] for _, window in taps(kernel, size, stride)]
    return np.maximum.reduce(windows)


@widened
def max_pool_vjp(dy: Array, x: Array, kernel_size: int, stride: int, padding: Padding) -> Array:
    """Returns the gradient of :func:`max_pool`; of equal pixels the first, by rows, has it all."""
    padded, kernel = pad(x, padding, -np.inf), (kernel_size, kernel_size)
    windows = [window for _, window in taps(kernel, dy.shape[2:], stride)]
    first = np.stack([padded[window] for window in windows]).argmax(0)
    dpadded = np.zeros_like(padded)
    for index, window in enumerate(windows):
        dpadded[window] += dy * (first == index)
    return dpadded[inside(x, padding)]


@widened
def mean(x: Array, keepdims: bool = False) -> Array:
    """Returns the mean over height and width: (N, C), or (N, C, 1, 1) with ``keepdims``."""
    return x.mean((2, 3), keepdims=keepdims)


@widened
def mean_vjp(dy: Array, x: Array) -> Array:
    """Returns the gradient of :func:`mean` from ``dy`` (N, C) or (N, C, 1, 1)."""
    share = dy.reshape(*x.shape[:2], 1, 1) / (x.shape[2] * x.shape[3])
    return np.broadcast_to(share, x.shape).copy()
