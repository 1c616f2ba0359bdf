"""The training loss of one batch."""

from __future__ import annotations

import numpy as np

from parity.candidates import Candidate
from parity.checks.base import MeasuredCheck
from parity.context import Context
from parity.distances import Array
from parity.tracing import bisection


class LossCheck(MeasuredCheck):
    """Compares the loss of a net in training mode, labels smoothed."""

    name = "loss"
    title = "Training loss"
    unit = "relative error"
    needs = "steps"
    quantities = ("loss", "loss, no exp")
    tracer = staticmethod(bisection.loss)
    recorded_with = "training step"

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        return {"loss": np.array(context.gradients(candidate, sample).loss)}
