"""The gradient of every parameter of the whole net."""

from __future__ import annotations

from collections.abc import Mapping

from tinynet.net.manifest import TRAINED_ROLES, manifest
from tinynet.spec import Spec

from parity.candidates import Candidate
from parity.checks.base import MeasuredCheck
from parity.context import Context
from parity.distances import Array
from parity.tolerances.bounds import BOUNDS
from parity.tolerances.quantities import gradient_quantity, gradient_scales
from parity.tracing import bisection


class GradientsChainedCheck(MeasuredCheck):
    """Compares the gradients of one training step, from the loss back to the input."""

    name = "gradients-chained"
    title = "Gradient of every parameter"
    reason = f"{BOUNDS['gradient'].reason}; ReLU6: {BOUNDS['gradient, kinked'].reason}"
    needs = "steps"
    quantities = ("gradient", "gradient, kinked")
    by_chance = True
    tracer = staticmethod(bisection.backward)
    drawing = "gradients"
    recorded_with = "training step"

    def quantity(self, where: str, spec: Spec) -> str:
        return gradient_quantity(spec)

    def scales(self, truths: Mapping[str, Array], norms: Mapping[str, float]) -> dict[str, float]:
        own = {key: norms[key] for key in reversed(list(norms)) if key != "input"}
        return gradient_scales(own)

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        gradients = context.gradients(candidate, sample)
        entries, found = manifest(context.spec).items(), gradients.parameters
        trained = [key for key, entry in entries if entry.role in TRAINED_ROLES and key in found]
        return {key: found[key] for key in reversed(trained)} | {"input": gradients.input}
