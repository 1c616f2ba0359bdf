"""Each layer alone, fed the same input."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from tinynet.spec import Spec

from parity.candidates import TRUTH, Candidate
from parity.checks.base import MeasuredCheck
from parity.context import Context
from parity.distances import Array, compare_within
from parity.reference.net import ReferenceNet
from parity.reference.structure import NET
from parity.results import Comparison, Series
from parity.tolerances.bounds import BOUNDS, ROUNDOFF, Bound
from parity.tolerances.quantities import layer_quantity


class LayersIsolatedCheck(MeasuredCheck):
    """Runs each layer alone; a layer that only one side has fails.

    First the reference itself, with which all else is compared, is compared with the definition.
    Where gates are exact, only the layers that have gates are run: the others are the same without.
    """

    name = "layers-isolated"
    title = "Each layer alone, fed the reference's own input"
    reason = f"without exp: {BOUNDS['layer'].reason}; with exp: {BOUNDS['gate layer'].reason}"
    quantities = ("layer", "gate layer")
    recorded_with = "layers"
    releases = ("layer_inputs",)

    def quantity(self, where: str, spec: Spec) -> str:
        return layer_quantity(where, spec)

    def bound(self, context: Context, where: str, candidate: Candidate) -> Bound:
        quantity = "layer" if candidate.exact_gates else layer_quantity(where, context.spec)
        return context.bound(quantity, candidate)

    def candidates(self, context: Context) -> list[Candidate]:
        return [*context.candidates, *context.exact]

    def places(self, context: Context, candidate: Candidate, names: Iterable[str]) -> list[str]:
        every = not candidate.exact_gates
        return [n for n in names if every or layer_quantity(n, context.spec) == "gate layer"]

    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        own = set(context.layer_names(candidate))
        names = [name for name in context.layer_inputs if name in own]
        return context.layers(candidate, self.places(context, candidate, names), sample)

    def compare(self, context: Context) -> Iterator[Comparison | Series]:
        yield from _reference(context)
        for candidate in context.candidates:
            for name in context.layer_names(candidate):
                if name not in context.layer_inputs:
                    title, note = str(candidate), "the reference has no such layer"
                    origin = candidate.origin()
                    yield Comparison(title, name, math.inf, 0.0, 0.0, "unexpected", note, **origin)
        yield from super().compare(context)


def _reference(context: Context) -> Iterator[Comparison]:
    # Float64 twice: no rounding of it, through the whole net, comes near one of float32.
    found, definition = context.outputs(TRUTH), ReferenceNet(context.spec, context.state)
    for name, layer in definition.run(NET, context.pixels).layers.items():
        if name != NET:
            output = found.get(name)
            yield compare_within("the reference", name, output, layer.output, 0.0, ROUNDOFF, "")
