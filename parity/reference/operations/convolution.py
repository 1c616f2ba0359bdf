"""Convolution: full, in groups, and depthwise."""

from __future__ import annotations

import numpy as np

from tinynet.spec import Padding

from parity.reference.operations.arrays import Array, Gradients, widened
from parity.reference.operations.windows import inside, output_size, pad, taps


@widened
def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int = 1,
    padding: Padding = (0, 0, 0, 0),
    groups: int = 1,
) -> Array:
    """Convolves, which is cross-correlation as in every framework.

    Args:
        x: (N, C, H, W).
        weight: (O, C / groups, K, K).
        bias: (O,), None for none.
        stride: in pixels.
        padding: zeros added at (top, bottom, left, right).
        groups: input and output channels are split into so many that do not see each other.

    Returns:
        (N, O, H', W').
    """
    padded = _split(pad(x, padding), groups)
    kernel = _split(weight[None], groups)[0]
    size = output_size(padded, weight.shape[-2:], stride)
    y = np.zeros((len(x), groups, kernel.shape[1], size[0] * size[1]))
    for tap, window in taps(weight.shape[-2:], size, stride):
        y += kernel[tap] @ _flat(padded[window])
    y = y.reshape(len(x), len(weight), *size)
    return y if bias is None else y + bias[:, None, None]


@widened
def conv2d_vjp(
    dy: Array,
    x: Array,
    weight: Array,
    stride: int = 1,
    padding: Padding = (0, 0, 0, 0),
    groups: int = 1,
) -> Gradients:
    """Returns the gradients of :func:`conv2d` from ``dy`` (N, O, H', W'), with its arguments."""
    padded = _split(pad(x, padding), groups)
    kernel = _split(weight[None], groups)[0]
    size = dy.shape[2:]
    rows = _flat(_split(dy, groups))
    dpadded, dkernel = np.zeros_like(padded), np.zeros_like(kernel)
    for tap, window in taps(weight.shape[-2:], size, stride):
        columns = _flat(padded[window])
        dkernel[tap] = (rows @ columns.swapaxes(-1, -2)).sum(0)
        # Windows overlap: a pixel collects what every window that holds it sends back.
        back = kernel[tap].swapaxes(-1, -2) @ rows
        dpadded[window] += back.reshape(*back.shape[:-1], *size)
    dx = dpadded.reshape(*x.shape[:2], *dpadded.shape[3:])[inside(x, padding)]
    return Gradients(dx, dkernel.reshape(weight.shape), dy.sum((0, 2, 3)))


def _split(values: Array, groups: int) -> Array:
    # (N, C, ...) to (N, G, C / G, ...).
    return values.reshape(len(values), groups, values.shape[1] // groups, *values.shape[2:])


def _flat(values: Array) -> Array:
    return values.reshape(*values.shape[:-2], -1)
