"""Faults in the loss, of training and of validation."""

from __future__ import annotations

from typing import Any

from parity.faults.planting import BOTH, Group, Original

GROUP = Group("loss")


@GROUP.fault("loss:cross_entropy", "loss", "loss", BOTH, official=True)
def smoothing_over_the_other_classes(
    right: Original, logits: Any, labels: Any, label_smoothing: float = 0.0
) -> Any:
    """Smoothing gives the wrong classes s / (K - 1) each and the right one 1 - s."""
    # The same as s K / (K - 1) over all classes.
    classes = logits.shape[1]
    return right(logits, labels, label_smoothing * classes / (classes - 1))


@GROUP.fault("loss:cross_entropy", "loss", "loss", ("mindspore",))
def smoothing_left_out(right: Original, logits: Any, labels: Any, smoothing: float) -> Any:
    """Labels are not smoothed."""
    return right(logits, labels)


@GROUP.fault("loss:cross_entropy", "loss", "loss", ("torch",))
def loss_summed(right: Original, logits: Any, *args: Any) -> Any:
    """The loss is the sum over a batch instead of the mean."""
    return len(logits) * right(logits, *args)


@GROUP.fault(
    "tinynet.training.evaluation:_log_softmax", "metrics", "mean loss", answers="", official=True
)
def validation_loss_smoothed(right: Original, logits: Any) -> Any:
    """The loss of validation is the smoothed one of training."""
    log_probabilities = right(logits)
    return 0.9 * log_probabilities + 0.1 * log_probabilities.mean(axis=1, keepdims=True)
