"""The average of weights and statistics."""

from __future__ import annotations

from parity.candidates import Candidate
from parity.checks.base import MeasuredCheck
from parity.context import OPTIMIZERS, Context
from parity.distances import Array
from parity.results import CheckResult
from parity.tracing import training_trace
from parity.tracing.suspect import Suspect

_KIND = next(iter(OPTIMIZERS))


class EmaCheck(MeasuredCheck):
    """Compares the average of every weight and statistic after the steps of one optimizer."""

    name = "ema"
    title = "The average of weights and statistics"
    needs = "steps"
    quantities = ("average",)
    drawing = ""
    recorded_with = "optimizers"
    releases = ("gradients", "given_gradients", "update")

    def candidates(self, context: Context) -> list[Candidate]:
        return [context.first]

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        return context.update(candidate, _KIND, sample).ema or {}

    def locate(self, context: Context, result: CheckResult) -> Suspect | None:
        candidate = context.candidate_of(result.failures[0])
        return training_trace.update(context, candidate, _KIND, averages=True)
