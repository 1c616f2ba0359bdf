"""Each layer within the whole net, with the errors of all before it."""

from __future__ import annotations

from parity.candidates import Candidate
from parity.checks.base import MeasuredCheck
from parity.context import Context
from parity.distances import Array


class LayersChainedCheck(MeasuredCheck):
    """Compares every layer's output in one run of the whole net."""

    name = "layers-chained"
    title = "Each layer within the whole net"
    quantities = ("chained", "chained, no exp")
    recorded_with = "layers"

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        return context.outputs(candidate, sample)
