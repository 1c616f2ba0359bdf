"""Operations that join the branches of a block: factors that scale, and the residual sum."""

from __future__ import annotations

from parity.reference.operations.arrays import Array, widened


@widened
def scale(x: Array, factors: Array) -> Array:
    """Applies a squeeze-excite's gates (N, C, 1, 1), drop-path (N, 1, 1, 1) or dropout (N, C).

    Args:
        x: (N, C, H, W), or (N, C) for dropout.
        factors: a shape that broadcasts to that of ``x``.
    """
    return x * factors


@widened
def scale_vjp(dy: Array, x: Array, factors: Array) -> tuple[Array, Array]:
    """Returns the gradients of :func:`scale` for ``x`` and for ``factors``."""
    axes = tuple(axis for axis, size in enumerate(factors.shape) if size == 1)
    return dy * factors, (dy * x).sum(axes, keepdims=True)


@widened
def residual_sum(x: Array, y: Array) -> Array:
    """Adds the branch to the block's input; ``dy`` is the gradient for both."""
    return x + y
