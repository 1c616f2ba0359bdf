"""The training loss in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Returns the mean cross entropy with label smoothing.

    The target is (1 - s) on the true class plus s / K on each of the K classes, the true one
    included.

    Args:
        logits: (N, K), float.
        labels: (N,), integers from 0 to K - 1.
        label_smoothing: s, from 0 to 1.

    Returns:
        A scalar, in nats.

    Source: Szegedy et al., Rethinking the Inception Architecture (arXiv 1512.00567), section 7.
    """
    log_probabilities = F.log_softmax(logits, 1)
    of_label = log_probabilities.gather(1, labels[:, None].long()).mean()
    of_all = log_probabilities.mean()
    return -(1.0 - label_smoothing) * of_label - label_smoothing * of_all
