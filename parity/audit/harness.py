"""Runs single operators of a twin on a device, and compares them with the reference.

Every array comes with the size of the terms that its numbers are sums of: for a dot product the sum
of the absolute products, in general the reference with a sum in place of every difference. Rounding
errors are proportional to the terms, even where these cancel, so errors are counted in units of
2^-24 times that size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinynet.backend import Backend

Array = NDArray[Any]
Arrays = dict[str, Array]
Reference = Callable[..., Arrays]

# Beyond the small and the odd sizes: as many images as a batch of training has.
LARGE_BATCH = 256


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class OperatorComparison:
    """One array that a framework computed.

    Attributes:
        quantity: "y" is the operator's output, "dx" the gradient for its input.
        where: the shapes it was computed for.
        found: the framework's numbers.
        truth: the reference's, float64.
        terms: the size of the terms that each number is the sum of.
        formulas: for each number the formula that it follows, where there are several.
    """

    quantity: str
    where: str
    found: Array
    truth: Array
    terms: Array
    formulas: Sequence[str] = ()


class Harness(NamedTuple):
    """Where operators are audited: a twin on a device, sizes to try, and random numbers."""

    twin: Backend
    device: str
    sizes: Sequence[int]
    generator: np.random.Generator

    def draw(self, *shape: int, mean: float = 0.0, deviation: float = 1.0) -> Array:
        """Draws normally distributed numbers, float32."""
        return self.generator.normal(mean, deviation, shape).astype(np.float32)

    def draw_labels(self, count: int, classes: int) -> Array:
        """Draws numbers of classes, from 0."""
        return (self.generator.random(count) * classes).astype(np.int64)

    def images(self) -> Iterator[tuple[int, int, int, int]]:
        """Yields shapes (N, C, H, W): each size as number of images, of channels and of pixels."""
        for size in self.sizes:
            yield size, 3, 2, 3
            yield 2, size, 3, 5
            yield 1, 2, size, size
        yield LARGE_BATCH, 5, 7, 7

    def rows(self) -> Iterator[tuple[int, int]]:
        """Yields shapes (N, K): each size as the number of rows and as their length."""
        for size in self.sizes:
            yield size, 7
            yield 3, size
        yield LARGE_BATCH, 129

    def run_layer(
        self,
        layer: Any,
        state: Arrays,
        x: Array,
        dy: Array,
        define: Reference,
        terms: Reference | None = None,
        training: bool = False,
    ) -> Iterator[OperatorComparison]:
        """Runs a layer of the twin on ``x``, and compares its results with the reference.

        ``state`` has its parameters and statistics; ``dy`` is the gradient of its output.
        ``define``, the reference, makes right results of ``dy``, ``x`` and the state, by name;
        ``terms`` likewise the size of the terms, which is ``define`` of absolute values by default.
        """
        found = self.twin.probe.operators.run_layer(layer, state, x, dy, training, self.device)
        # Only those shapes of the state that the input's shape does not imply.
        kernels = {key: values.shape for key, values in state.items() if values.ndim > 1}
        shapes = {"x": x.shape, **kernels}
        yield from _compared(found, {"dy": dy, "x": x, **state}, shapes, define, terms)

    def run_function(
        self,
        function: Any,
        arrays: Arrays,
        dy: Array,
        define: Reference,
        terms: Reference | None = None,
    ) -> Iterator[OperatorComparison]:
        """Runs a function of the twin on arrays, and compares as :meth:`run_layer` does."""
        found = self.twin.probe.operators.run_function(function, arrays, dy, self.device)
        shapes = {name: values.shape for name, values in arrays.items()}
        yield from _compared(found, {"dy": dy, **arrays}, shapes, define, terms)


Operator = Callable[[Harness], Iterator[OperatorComparison]]


def _compared(
    found: Arrays,
    arrays: Arrays,
    shapes: Mapping[str, tuple[int, ...]],
    define: Reference,
    terms: Reference | None,
) -> Iterator[OperatorComparison]:
    where = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in arrays.items()}
    truth = define(**wide)
    sizes = terms(**wide) if terms else define(**{k: np.abs(v) for k, v in wide.items()})
    for quantity, values in truth.items():
        yield OperatorComparison(quantity, where, found[quantity], values, np.abs(sizes[quantity]))
