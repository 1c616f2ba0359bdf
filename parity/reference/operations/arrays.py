"""What all operations share: arrays in float64, and gradients by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# The axes of (N, C, H, W) without the channels.
PIXELS = (0, 2, 3)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Gradients(NamedTuple):
    """The gradients for a layer's input, its weight and its bias."""

    x: Array
    weight: Array
    bias: Array


def widened(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Returns the operation with its floating-point arguments in float64, which is exact."""

    def wide(value: object) -> object:
        if not isinstance(value, np.ndarray):
            return value
        array = cast(Array, value)
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    @functools.wraps(function)
    def widened(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        named = {name: wide(value) for name, value in kwargs.items()}
        return function(*map(wide, args), **named)  # pyright: ignore[reportCallIssue]

    return widened
