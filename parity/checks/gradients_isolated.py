"""Gradients of each block alone."""

from __future__ import annotations

from collections.abc import Mapping

from tinynet.spec import Spec

from parity.candidates import Candidate
from parity.checks.base import MeasuredCheck
from parity.context import Context
from parity.distances import Array
from parity.tolerances.quantities import gradient_scales, is_non_smooth
from parity.tracing import bisection


class GradientsIsolatedCheck(MeasuredCheck):
    """Runs each block, and each layer outside of the blocks, alone in training, forward and back.

    It is fed the reference's input, and the gradient that reached the reference's output.
    """

    name = "gradients-isolated"
    title = "Gradients of each block alone"
    needs = "steps"
    quantities = ("gradient, isolated", "gradient, kinked alone")
    by_chance = True
    tracer = staticmethod(bisection.backward)
    drawing = "gradients"
    releases = ("backward_inputs",)

    def quantity(self, where: str, spec: Spec) -> str:
        return self.quantities[is_non_smooth(spec)]

    def scales(self, truths: Mapping[str, Array], norms: Mapping[str, float]) -> dict[str, float]:
        found: dict[str, float] = {}
        block: dict[str, float] = {}
        for name, own in norms.items():
            if name.endswith(" input"):  # the last of a block
                found |= gradient_scales(dict(reversed(block.items())))
                block.clear()
            else:
                block[name] = own
        return found

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        # From the loss back to the input, the way gradients flow.
        found: dict[str, Array] = {}
        for name, block in reversed(context.backward(candidate, sample).items()):
            found |= {key: block.parameters[key] for key in reversed(block.parameters)}
            found[f"{name} input"] = block.input
        return found
