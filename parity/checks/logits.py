"""What the whole net returns."""

from __future__ import annotations

from parity.candidates import Candidate
from parity.checks.base import MeasuredCheck
from parity.context import Context
from parity.distances import Array
from parity.tolerances.bounds import Bound


class LogitsCheck(MeasuredCheck):
    """Compares the logits, and once more with sigmoid and SiLU computed in float64."""

    name = "logits"
    title = "Logits of the whole net"
    quantities = ("logits", "logits, exact gates")
    recorded_with = "layers"
    releases = ("trace", "outputs")

    def bound(self, context: Context, where: str, candidate: Candidate) -> Bound:
        if candidate.exact_gates:
            return context.bound("logits, exact gates", candidate)
        return super().bound(context, where, candidate)

    def candidates(self, context: Context) -> list[Candidate]:
        return [*context.candidates, *context.exact]

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        name = context.spec.names.classifier
        return {name: context.outputs(candidate, sample)[name]}

    def truths(self, context: Context) -> dict[str, Array]:
        return {context.spec.names.classifier: context.reference_logits}

    def baselines(self, context: Context) -> list[dict[str, Array]]:
        return [{context.spec.names.classifier: logits} for logits in context.baseline_logits]
