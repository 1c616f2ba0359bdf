"""The dense layer: the classifier."""

from __future__ import annotations

from parity.reference.operations.arrays import Array, Gradients, widened


@widened
def dense(x: Array, weight: Array, bias: Array) -> Array:
    """Computes the classifier: (N, I) by (O, I) and (O,) to (N, O)."""
    return x @ weight.T + bias


@widened
def dense_vjp(dy: Array, x: Array, weight: Array) -> Gradients:
    """Returns the gradients of :func:`dense` from ``dy`` (N, O)."""
    return Gradients(dy @ weight, dy.T @ x, dy.sum(0))
