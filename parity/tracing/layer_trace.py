"""The layers of one run of a net, each compared with its definition on its own numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parity.candidates import BASELINE, TRUTH, Candidate
from parity.context import Context
from parity.distances import Array, compare_within, relative_error
from parity.reference.net import ReferenceNet, Run
from parity.results import Comparison
from parity.tolerances.bounds import ROUNDOFF
from parity.tolerances.quantities import layer_quantity

# What is there, what it must be, and what its error is relative to.
Pair = tuple[Array | None, Array, float | None]


@dataclass(eq=False)
class LayerTrace:
    """A candidate's layers in one run.

    ``layers`` are layer -> what it was given and returned, and in training the gradient of that;
    the errors of ``baseline`` are the noise; ``gradients`` are those of the whole training step,
    None for a run in evaluation.
    """

    context: Context
    candidate: Candidate
    layers: Mapping[str, Any]
    baseline: LayerTrace | None = None
    gradients: Any = None

    def __post_init__(self) -> None:
        self.definition = ReferenceNet(self.context.spec, self.context.state)
        self.framework = self.candidate.framework
        is_truth = self.candidate == TRUTH
        self.name = f"{self.framework} in float64" if is_truth else str(self.candidate)
        self._runs: dict[str, Run] = {}

    def run(self, name: str) -> Run:
        """Computes what a layer must make of what it was given here."""
        if name not in self._runs:
            item, training = self.layers[name], self.gradients is not None
            self._runs[name] = self.definition.run(
                name, item.input, (lambda _: item.gradient) if training else None, training
            )
        return self._runs[name]

    def is_right_alone(self, name: str) -> bool:
        """Returns whether a layer that runs alone passes the right gradient on to its input."""
        item, net = self.layers[name], self.context.build(self.candidate)
        given, probe = {name: (item.input, item.gradient)}, self.context.twin(self.candidate).probe
        found = probe.backward(net, given, self.candidate.mode)
        truth = self.run(name).input
        return self.compare(name, found[name].input, truth, 0.0, self.gradient_quantity).passed

    def compare(
        self,
        where: str,
        found: Array | None,
        truth: Array,
        noise: float,
        quantity: str,
        scale: float | None = None,
    ) -> Comparison:
        """Compares numbers with the truth; ``noise`` is the baseline's error at this place."""
        if self.candidate == TRUTH:
            noise = limit = ROUNDOFF
        else:
            bound = self.context.bound(quantity, self.candidate)
            noise = bound.noise(noise, where)
            limit = bound.factor * noise
        return compare_within(self.name, where, found, truth, noise, limit, quantity, scale)

    def measure(self, where: str, pair: Callable[[LayerTrace], Pair], quantity: str) -> Comparison:
        """Compares a place with the truth; the error of the baseline there is the noise."""
        noise = 0.0
        if self.baseline:
            found, truth, scale = pair(self.baseline)
            noise = relative_error(found, truth, scale) if found is not None else 0.0
        found, truth, scale = pair(self)
        return self.compare(where, found, truth, noise, quantity, scale)

    def output(self, name: str) -> Comparison:
        """Compares a layer's output with what it must be."""

        def pair(of: LayerTrace) -> Pair:
            if name not in of.layers:
                return None, self.layers[name].output, None
            return of.layers[name].output, of.run(name).output, None

        return self.measure(name, pair, layer_quantity(name, self.context.spec))

    @property
    def gradient_quantity(self) -> str:
        """The quantity of the gradients of a layer alone."""
        return "gradient, kinked alone" if self.context.non_smooth else "gradient, isolated"


def in_evaluation(context: Context, candidate: Candidate) -> tuple[LayerTrace, LayerTrace]:
    """Traces the reference and a candidate in evaluation."""
    baseline = LayerTrace(context, BASELINE, context.trace(BASELINE))
    found = LayerTrace(context, candidate, context.trace(candidate), baseline)
    return LayerTrace(context, TRUTH, context.trace(TRUTH)), found


def in_training(context: Context, candidate: Candidate) -> tuple[LayerTrace, LayerTrace]:
    """Traces the reference and a candidate in a training step."""
    own = context.gradients(BASELINE)
    baseline = LayerTrace(context, BASELINE, context.flow(BASELINE), gradients=own)
    gradients = context.gradients(candidate)
    found = LayerTrace(context, candidate, context.flow(candidate), baseline, gradients)
    own = context.gradients(TRUTH)
    return LayerTrace(context, TRUTH, context.flow(TRUTH), gradients=own), found
