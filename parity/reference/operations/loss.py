"""Log-softmax and the cross entropy."""

from __future__ import annotations

import numpy as np

from parity.reference.operations.arrays import Array, widened


@widened
def log_softmax(logits: Array) -> Array:
    """Returns the logarithms of the classes' probabilities: (N, K) to (N, K)."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


@widened
def log_softmax_vjp(dy: Array, logits: Array) -> Array:
    """Returns the gradient of :func:`log_softmax`."""
    return dy - np.exp(log_softmax(logits)) * dy.sum(1, keepdims=True)


@widened
def cross_entropy(logits: Array, labels: Array, label_smoothing: float = 0.0) -> float:
    """Returns the mean cross entropy, in nats.

    Args:
        logits: (N, K).
        labels: (N,), integers from 0 to K - 1.
        label_smoothing: s: the target is 1 - s on the label plus s / K on each of the K classes.

    Source: Szegedy et al., Rethinking the Inception Architecture (arXiv 1512.00567), section 7.
    """
    return float(-(_targets(logits, labels, label_smoothing) * log_softmax(logits)).sum(1).mean())


@widened
def cross_entropy_vjp(
    dy: float, logits: Array, labels: Array, label_smoothing: float = 0.0
) -> Array:
    """Returns the gradient of :func:`cross_entropy` for the logits."""
    probabilities = np.exp(log_softmax(logits))
    return dy * (probabilities - _targets(logits, labels, label_smoothing)) / len(logits)


def _targets(logits: Array, labels: Array, label_smoothing: float) -> Array:
    classes = logits.shape[1]
    return (1 - label_smoothing) * np.eye(classes)[labels] + label_smoothing / classes
