"""Activations and gates, number by number."""

from __future__ import annotations

import numpy as np

from parity.reference.operations.arrays import Array, widened


@widened
def sigmoid(x: Array) -> Array:
    """Returns 1 / (1 + exp(-x))."""
    return np.exp(-np.logaddexp(0.0, -x))  # which overflows nowhere


@widened
def sigmoid_vjp(dy: Array, x: Array) -> Array:
    """Returns the gradient of :func:`sigmoid`."""
    return dy * sigmoid(x) * sigmoid(-x)


@widened
def silu(x: Array) -> Array:
    """Returns the product of x and its sigmoid."""
    return x * sigmoid(x)


@widened
def silu_vjp(dy: Array, x: Array) -> Array:
    """Returns the gradient of :func:`silu`."""
    return dy * sigmoid(x) * (1.0 + x * sigmoid(-x))


@widened
def relu6(x: Array) -> Array:
    """Limits x to the range from 0 to 6."""
    return np.clip(x, 0.0, 6.0)


@widened
def relu6_vjp(dy: Array, x: Array) -> Array:
    """Returns the gradient of :func:`relu6`; at the kinks, 0 and 6, it is 0."""
    return dy * ((x > 0.0) & (x < 6.0))


@widened
def relu(x: Array) -> Array:
    """Limits x to at least 0."""
    return np.maximum(x, 0.0)


@widened
def relu_vjp(dy: Array, x: Array) -> Array:
    """Returns the gradient of :func:`relu`; at the kink, 0, it is 0."""
    return dy * (x > 0.0)
