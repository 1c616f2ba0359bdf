"""The windows of a kernel that slides over padded images: of convolutions and max pools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinynet.spec import Padding

from parity.reference.operations.arrays import Array


def pad(x: Array, padding: Padding, value: float = 0.0) -> Array:
    """Pads (N, C, H, W) at (top, bottom, left, right) with a value."""
    return np.pad(x, ((0, 0), (0, 0), padding[:2], padding[2:]), constant_values=value)


def inside(x: Array, padding: Padding) -> tuple[Any, ...]:
    """Returns the index of ``x`` in what it was padded to."""
    top, _, left, _ = padding
    return (..., slice(top, top + x.shape[2]), slice(left, left + x.shape[3]))


def output_size(padded: Array, kernel: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Returns how many windows there are, from top to bottom and from left to right."""
    sides = zip(padded.shape[-2:], kernel, strict=True)
    return tuple((pixels - covered) // stride + 1 for pixels, covered in sides)


def taps(
    kernel: tuple[int, ...], size: tuple[int, ...], stride: int
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Yields the index of each tap of a kernel, and that of the pixels which it meets."""
    for tap in np.ndindex(*kernel):
        starts = zip(tap, size, strict=True)
        pixels = (slice(at, at + stride * (count - 1) + 1, stride) for at, count in starts)
        yield (..., *tap), (..., *pixels)
