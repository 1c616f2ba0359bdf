"""Each layer within the whole net, with the errors of all before it."""

from __future__ import annotations

from tinynet.spec import Spec

from parity.candidates import Candidate
from parity.checks.base import RELATIVE, MeasuredCheck
from parity.context import Context
from parity.distances import Array
from parity.tolerances.bounds import BOUNDS
from parity.tolerances.quantities import whole_quantity


class LayersChainedCheck(MeasuredCheck):
    """Compares every layer's output in one run of the whole net."""

    name = "layers-chained"
    title = "Each layer within the whole net"
    unit = RELATIVE
    reason = BOUNDS["chained"].reason
    quantities = ("chained", "chained, no exp")
    recorded_with = "layers"

    def quantity(self, where: str, spec: Spec) -> str:
        return whole_quantity("chained", spec)

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        return context.outputs(candidate, sample)
