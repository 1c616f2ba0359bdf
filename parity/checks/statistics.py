"""Running means and variances after one training step."""

from __future__ import annotations

from collections.abc import Mapping

from parity.candidates import Candidate
from parity.checks.base import MeasuredCheck
from parity.context import Context
from parity.distances import Array
from parity.tolerances.quantities import statistic_scale
from parity.tracing import bisection


class StatisticsCheck(MeasuredCheck):
    """Compares what every batch norm remembers of a batch."""

    name = "statistics"
    title = "Batch-norm statistics after a step"
    needs = "steps"
    quantities = ("statistics",)
    tracer = staticmethod(bisection.statistics)
    recorded_with = "training step"

    def scales(self, truths: Mapping[str, Array], norms: Mapping[str, float]) -> dict[str, float]:
        found = {key: statistic_scale(key, truths) for key in truths}
        return {key: scale for key, scale in found.items() if scale is not None}

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        return context.gradients(candidate, sample).statistics
