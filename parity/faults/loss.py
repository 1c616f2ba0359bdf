"""Faults in the loss, of training and of validation."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (what stands in for a function takes whatever that takes)

from __future__ import annotations

from typing import Any

from tinynet.backend import Backend
from tinynet.training import evaluation

from parity.faults.planting import BOTH, Group, Injection, replaced

GROUP = Group("loss")


@GROUP.fault("loss", "loss", "loss", "cross_entropy", BOTH, official=True)
def smoothing_over_the_other_classes(twin: Backend) -> Injection:
    """Smoothing gives the wrong classes s / (K - 1) each and the right one 1 - s."""

    def faulty(right: Any, logits: Any, labels: Any, label_smoothing: float = 0.0) -> Any:
        # The same as s K / (K - 1) over all classes.
        classes = logits.shape[1]
        return right(logits, labels, label_smoothing * classes / (classes - 1))

    return replaced(twin.loss, "cross_entropy", faulty)


@GROUP.fault("loss", "loss", "loss", "cross_entropy", ("mindspore",))
def smoothing_left_out(twin: Backend) -> Injection:
    """Labels are not smoothed."""
    return replaced(
        twin.loss, "cross_entropy", lambda right, logits, labels, smoothing: right(logits, labels)
    )


@GROUP.fault("loss", "loss", "loss", "cross_entropy", ("torch",))
def loss_summed(twin: Backend) -> Injection:
    """The loss is the sum over a batch instead of the mean."""
    return replaced(
        twin.loss, "cross_entropy", lambda right, logits, *args: len(logits) * right(logits, *args)
    )


@GROUP.fault("metrics", "mean loss", "tinynet/training/evaluation", official=True)
def validation_loss_smoothed() -> Injection:
    """The loss of validation is the smoothed one of training."""

    def faulty(right: Any, logits: Any) -> Any:
        log_probabilities = right(logits)
        return 0.9 * log_probabilities + 0.1 * log_probabilities.mean(axis=1, keepdims=True)

    return replaced(evaluation, "_log_softmax", faulty)
